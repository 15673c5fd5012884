"""Sets up the logs of a process."""

from verismo.adapters import logs


def set_up_logs(level: str, worker: str = "") -> None:
    """Send this process's logs to standard error as JSON lines.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        worker: the process's name on every line, such as `s0`; empty for none.
    """
    logs.set_up_logs(level, worker)
