"""Sets up the logs of a process (interim)."""

import logging


def set_up_logs(level: str) -> None:
    logging.basicConfig(level=level.upper())
