"""The inflow of a stream, over the own client's exchange: nothing lost, nothing held for long."""

import asyncio
import gc
import hashlib
import weakref

import pytest

from verismo.adapters.upstream_exchange import Exchange
from verismo.gateway.inflow import Inflow
from verismo.model.errors import UpstreamBroken, UpstreamTimeout

NEVER_S = 3_600.0
BODY_BYTES_MAX = 1_000


class Link:
    """The end of the connection that an exchange sees."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def resume(self) -> None:
        """The exchange takes what it is given; there is no socket to resume."""


class Stream:
    """An open exchange and the inflow that reads it."""

    def __init__(self, silence_s_max: float = NEVER_S) -> None:
        self.link = Link()
        self.exchange = Exchange(self.link, asyncio.get_running_loop(), BODY_BYTES_MAX)
        self.exchange.open(200)
        self.received = hashlib.sha256()
        self.inflow = Inflow(self.exchange, self.received, silence_s_max)

    async def rest(self) -> bytes:
        """Take all that is still to come."""
        data = b""
        while not self.inflow.ended:
            data += await self.inflow.take(None)
        return data


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_first_call_returns_all_that_has_come_and_knows_the_end():
    stream = Stream()
    stream.exchange.add(b"one ")
    stream.exchange.add(b"two")
    stream.exchange.finish()
    assert not stream.inflow.ended
    assert await stream.inflow.take(None) == b"one two"
    assert stream.inflow.ended
    assert stream.received.digest() == hashlib.sha256(b"one two").digest()
    await stream.inflow.aclose()
    assert not stream.link.is_aborted


async def test_first_call_waits_for_nothing():
    stream = Stream()
    assert await asyncio.wait_for(stream.inflow.take(None), 5) == b""
    assert not stream.inflow.ended
    await stream.inflow.aclose()


async def test_empty_answer_ends_at_the_first_call():
    stream = Stream()
    stream.exchange.finish()
    assert await stream.inflow.take(None) == b""
    assert stream.inflow.ended
    await stream.inflow.aclose()


async def test_nothing_is_read_before_the_first_call():
    stream = Stream()
    stream.exchange.add(b"early")
    await turns()
    assert stream.exchange.unread_bytes == 5
    await stream.inflow.aclose()
    assert stream.link.is_aborted


async def test_what_comes_together_is_taken_together_and_in_order():
    stream = Stream()
    await stream.inflow.take(None)
    taking = asyncio.create_task(stream.inflow.take(None))
    await turns()
    assert not taking.done()
    stream.exchange.add(b"a")
    stream.exchange.add(b"b")
    assert await taking == b"ab"
    stream.exchange.add(b"c")
    await turns()
    stream.exchange.add(b"d")
    stream.exchange.finish()
    assert await stream.rest() == b"cd"
    assert stream.received.digest() == hashlib.sha256(b"abcd").digest()
    await stream.inflow.aclose()


async def test_wait_that_is_given_up_loses_nothing():
    stream = Stream()
    loop = asyncio.get_running_loop()
    await stream.inflow.take(None)
    assert await stream.inflow.take(loop.time() + 0.01) == b""
    assert not stream.inflow.ended
    stream.exchange.add(b"late")
    stream.exchange.finish()
    assert await stream.rest() == b"late"
    await stream.inflow.aclose()


async def test_earlier_time_that_still_rings_does_no_harm():
    stream = Stream()
    loop = asyncio.get_running_loop()
    early_s = loop.time() + 0.01
    await stream.inflow.take(None)
    taking = asyncio.create_task(stream.inflow.take(early_s))
    await turns()
    stream.exchange.add(b"first")
    assert await taking == b"first"
    assert await stream.inflow.take(loop.time() + NEVER_S) == b""
    assert early_s <= loop.time()
    assert await stream.inflow.take(loop.time() + 0.01) == b"", "the later time rings too"
    await stream.inflow.aclose()


async def test_failure_is_raised_after_what_came_before_it():
    stream = Stream()
    stream.exchange.add(b"before")
    stream.exchange.fail(UpstreamBroken("gone"))
    assert await stream.inflow.take(None) == b"before"
    assert not stream.inflow.ended
    with pytest.raises(UpstreamBroken, match="gone"):
        await stream.inflow.take(None)
    await stream.inflow.aclose()


async def test_failure_before_anything_came_is_raised_at_once():
    stream = Stream()
    stream.exchange.fail(UpstreamBroken("gone"))
    with pytest.raises(UpstreamBroken, match="gone"):
        await stream.inflow.take(None)
    await stream.inflow.aclose()


async def test_silent_provider_is_given_up_after_what_it_said():
    stream = Stream(silence_s_max=0.02)
    stream.exchange.add(b"said")
    assert await stream.inflow.take(None) == b"said"
    with pytest.raises(UpstreamTimeout, match="silent"):
        await stream.rest()
    await stream.inflow.aclose()
    assert stream.link.is_aborted


async def test_time_before_the_first_call_is_no_silence():
    stream = Stream(silence_s_max=0.02)
    rings = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, rings.set)
    await rings.wait()
    taking = asyncio.create_task(stream.rest())
    await turns()
    stream.exchange.add(b"here")
    stream.exchange.finish()
    assert await taking == b"here"
    await stream.inflow.aclose()


async def test_time_in_which_nobody_waits_is_no_silence():
    stream = Stream(silence_s_max=0.02)
    loop = asyncio.get_running_loop()
    await stream.inflow.take(None)
    assert await stream.inflow.take(loop.time() + 0.001) == b""
    rings = asyncio.Event()
    loop.call_later(0.05, rings.set)
    await rings.wait()  # the relay has no eyes for what comes: its client does not read
    taking = asyncio.create_task(stream.rest())
    await turns()
    stream.exchange.add(b"here")
    stream.exchange.finish()
    assert await taking == b"here"
    await stream.inflow.aclose()


async def test_what_nobody_takes_stays_with_the_exchange_which_bounds_it():
    stream = Stream()
    await stream.inflow.take(None)
    stream.exchange.add(b"one ")
    stream.exchange.add(b"two")
    await turns()
    assert stream.exchange.unread_bytes == 7
    assert await stream.inflow.take(None) == b"one two"
    assert stream.exchange.unread_bytes == 0
    await stream.inflow.aclose()


@pytest.mark.parametrize("is_whole", [True, False])
async def test_closed_inflow_leaves_nothing_to_the_collector(is_whole: bool):
    stream = Stream()
    await stream.inflow.take(None)
    assert await stream.inflow.take(asyncio.get_running_loop().time() + 0.001) == b""
    if is_whole:
        stream.exchange.finish()
    await stream.inflow.aclose()
    left = weakref.ref(stream.inflow), weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


async def test_closing_while_it_reads_breaks_the_exchange_off():
    stream = Stream()
    await stream.inflow.take(None)
    taking = asyncio.create_task(stream.inflow.take(asyncio.get_running_loop().time() + NEVER_S))
    await turns()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await stream.inflow.aclose()
    assert stream.link.is_aborted
    assert not stream.inflow.ended
