"""What every SIEM sink and its read-back must do (port: `verismo.ports.siem`).

A subclass gives the fixture `place`: a receiver that can go away and come back.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import pytest
from tests.support import siem
from tests.support.waiting import until

from verismo.attest.ocsf import siem_event
from verismo.model.siem import SiemEvent
from verismo.ports.siem import SiemSink, SinkUnavailable


def events_of(count: int, first: int = 0) -> list[SiemEvent]:
    records = siem.chats(count)
    return [siem_event(siem.logged(record, first + n)) for n, record in enumerate(records)]


class Place(Protocol):
    """A sink, and the receiver behind it."""

    sink: SiemSink

    async def received(self) -> Sequence[bytes]:
        """Return the events that the receiver holds, in the order of their coming."""
        ...

    async def go_away(self) -> None: ...

    async def come_back(self) -> None: ...


async def arrived(place: Place, count: int) -> list[bytes]:
    """Wait until the receiver has so many; syslog's receiver may lag behind its TCP."""

    async def is_there() -> bool:
        return len(await place.received()) >= count

    await until(is_there)
    return [line.rstrip(b"\n") for line in await place.received()]


class SinkConformance:
    async def test_batch_arrives_whole_and_in_order(self, place: Place):
        events = events_of(20)
        assert list(await place.sink.send(events)) == []
        assert await arrived(place, 20) == [event.data for event in events]

    async def test_batches_follow_each_other(self, place: Place):
        events = events_of(9)
        for start in range(0, 9, 3):
            await place.sink.send(events[start : start + 3])
        assert await arrived(place, 9) == [event.data for event in events]

    @pytest.mark.slow
    async def test_large_batch_arrives(self, place: Place):
        events = events_of(1_500)
        await place.sink.send(events)
        assert await arrived(place, 1_500) == [event.data for event in events]

    async def test_same_batch_again_is_another_copy(self, place: Place):
        events = events_of(2)
        await place.sink.send(events)
        await place.sink.send(events)
        assert await arrived(place, 4) == [event.data for event in events] * 2

    async def test_receiver_that_is_away_takes_nothing_and_the_caller_is_told(self, place: Place):
        await place.go_away()
        with pytest.raises(SinkUnavailable) as raised:
            await place.sink.send(events_of(2))
        assert raised.value.detail

    async def test_batch_is_delivered_once_the_receiver_is_back(self, place: Place):
        events = events_of(4)
        await place.sink.send(events[:2])
        await arrived(place, 2)
        await place.go_away()
        with pytest.raises(SinkUnavailable):
            await place.sink.send(events[2:])
        await place.come_back()
        await place.sink.send(events[2:])
        found = set(await arrived(place, 4))
        assert found == {event.data for event in events}

    async def test_closed_sink_opens_again(self, place: Place):
        events = events_of(2)
        await place.sink.send(events[:1])
        await place.sink.aclose()
        await place.sink.aclose()
        await place.sink.send(events[1:])
        found = await arrived(place, 2)
        assert found == [event.data for event in events]

    async def test_cancelled_send_leaves_a_sink_that_works(self, place: Place):
        events = events_of(2)
        sending = asyncio.create_task(place.sink.send(events[:1]))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
        await place.sink.send(events)
        found = await arrived(place, 2)
        assert set(found) == {event.data for event in events}
