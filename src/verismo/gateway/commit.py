"""Step 11, commit: the record is durable before anything leaves."""

from verismo.gateway.seal import RETRY_AFTER_S, Sealed
from verismo.model.errors import IntegrityError
from verismo.ports.journal import Journal, JournalFailed, OpenStream
from verismo.ports.telemetry import Telemetry


async def commit_record(journal: Journal, sealed: Sealed, telemetry: Telemetry) -> None:
    """Store a sealed answer durably.

    Raises:
        IntegrityError: it is not known to be durable, so it must not be served.
    """
    try:
        await journal.append(sealed.record)
    except JournalFailed as error:
        telemetry.failed_closed("journal")
        raise _withheld() from error


async def commit_opening(journal: Journal, stream: OpenStream, telemetry: Telemetry) -> None:
    """Store durably that a stream is about to start (decisions 16).

    Raises:
        IntegrityError: it is not known to be durable, so the stream must not start.
    """
    try:
        await journal.open_stream(stream)
    except JournalFailed as error:
        telemetry.failed_closed("open_stream")
        raise _withheld() from error


def _withheld() -> IntegrityError:
    return IntegrityError(
        "the record of this answer could not be stored durably, so the answer is not served",
        retry_after_s=RETRY_AFTER_S,
    )
