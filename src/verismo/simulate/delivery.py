"""Delivery: how a whole answer goes out, and how each fault disturbs it."""

from verismo.simulate.answer import FINGERPRINT, Answer
from verismo.simulate.exchange import Exchange, RawHeaders
from verismo.simulate.faults import Fault

_MARK = (b"x-verismo-simulator", b"1")
_PIECE_BYTES = 65_536
_GARBAGE = b'{"simulated": tru'
_DONE_EVENT = b"data: [DONE]\n\n"


async def deliver(exchange: Exchange, answer: Answer, fault: Fault, interval_ms: int) -> bool:
    """Send an answer, with the fault done to it.

    Args:
        exchange: the client's.
        answer: whole and right.
        fault: what goes wrong.
        interval_ms: time between events where the fault does not say, milliseconds.

    Returns:
        Whether an answer was sent to its end; False where the simulator closed the connection.

    Raises:
        ClientGone: the client left before that.
    """
    if fault.stall:
        await exchange.hold()
    if fault.close:
        await exchange.close()
        return False
    if fault.huge_bytes:
        return await _send_huge(exchange, answer, fault.huge_bytes)
    shown = _replaced(answer, fault)
    if shown.events is None:
        return await _send_body(exchange, shown, fault)
    if fault.interval_ms is not None:
        interval_ms = fault.interval_ms
    return await _send_events(exchange, shown, fault, interval_ms)


def _replaced(answer: Answer, fault: Fault) -> Answer:
    """Return what is sent in the answer's stead: a redirect, garbage, or itself."""
    if fault.redirect:
        return Answer(status=307, headers=(("location", "/simulator/redirected"),))
    if not fault.garbage:
        return answer
    if answer.events is None:
        return Answer(status=200, body=_GARBAGE, media=answer.media)
    events = (answer.events[0], b"data: " + _GARBAGE + b"\n\n", _DONE_EVENT)
    return Answer(status=200, events=events, media=answer.media)


async def _send_body(exchange: Exchange, answer: Answer, fault: Fault) -> bool:
    length = (b"content-length", str(len(answer.body)).encode())
    await exchange.start(answer.status, [*_headers(answer), length])
    if fault.cut_after is not None and fault.cut_after < len(answer.body):
        await exchange.write(answer.body[: fault.cut_after], more=True)
        await exchange.close()
        return False
    await exchange.write(answer.body, more=False)
    return True


async def _send_events(exchange: Exchange, answer: Answer, fault: Fault, interval_ms: int) -> bool:
    """Send a stream event by event, each as a chunk of its own."""
    await exchange.start(answer.status, _headers(answer))
    for position, event in enumerate(answer.events or ()):
        if position:
            await exchange.pause(interval_ms)
        if position == fault.stall_after:
            await exchange.hold()
        if position == fault.cut_after:
            await exchange.close()
            return False
        if position == fault.fail_after:
            await exchange.write(answer.failure, more=False)
            return True
        await exchange.write(event, more=True)
    await exchange.write(b"", more=False)
    return True


async def _send_huge(exchange: Exchange, answer: Answer, size: int) -> bool:
    """Send `size` octets: one JSON string, in a stream as the data of one event.

    No content length is given, so that the reader has to count.
    """
    await exchange.start(200, _headers(answer))
    lead, end = (b'"', b'"') if answer.events is None else (b'data: "', b'"\n\n')
    await exchange.write(lead, more=True)
    left = max(0, size - len(lead) - len(end))
    while left:
        piece = b"x" * min(left, _PIECE_BYTES)
        left -= len(piece)
        await exchange.write(piece, more=True)
        await exchange.pause(0)
    await exchange.write(end, more=False)
    return True


def _headers(answer: Answer) -> RawHeaders:
    headers = [(b"content-type", answer.media.encode("latin-1")), _MARK]
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.events is not None:
        headers.append((b"cache-control", b"no-cache"))
    headers.append((b"server", FINGERPRINT.encode()))
    return headers
