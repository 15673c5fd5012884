"""The HTTP sink: 2xx moves on, content that is refused is bisected, all else is sent again."""

import asyncio
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.ports.siem_conformance import SinkConformance, events_of
from tests.ports.upstream_tls import ELSEWHERE, authority, server_context
from tests.support import siem
from tests.support.collector import Collector

from verismo.adapters import siem_http
from verismo.adapters.siem_http import HttpSettings, HttpSink, HttpSinkReader
from verismo.model.errors import StateError
from verismo.ports.siem import SinkUnavailable

NOW_S = 1_790_000_000.0


class HttpPlace:
    def __init__(self) -> None:
        self.collector = Collector()
        self.sink: HttpSink

    async def received(self):
        return list(self.collector.kept)

    async def go_away(self) -> None:
        await self.collector.stop()

    async def come_back(self) -> None:
        await self.collector.start()


@pytest.fixture
async def place():
    place = HttpPlace()
    await place.collector.start()
    place.sink = HttpSink(HttpSettings(place.collector.url, timeout_s=2.0), lambda: NOW_S)
    yield place
    await place.sink.aclose()
    await place.collector.stop()


@pytest.fixture
async def collector():
    collector = Collector()
    await collector.start()
    yield collector
    await collector.stop()


@pytest.fixture
async def sink(collector):
    sink = HttpSink(HttpSettings(collector.url, token="secret-token", timeout_s=2.0), lambda: NOW_S)
    yield sink
    await sink.aclose()


def answering(status, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: (status, named)


def refusing(indices, status=400):
    def judge(posted):
        sequences = {json.loads(line)["metadata"]["sequence"] for line in posted.lines}
        return (status if sequences & set(indices) else 200), {}

    return judge


class TestHttpSink(SinkConformance):
    pass


async def test_batch_is_ndjson_with_the_token(sink, collector):
    await sink.send(events_of(2))
    [posted] = collector.posts
    assert posted.headers["content-type"] == "application/x-ndjson"
    assert posted.headers["authorization"] == "Bearer secret-token"


def test_token_is_not_in_the_settings_text():
    assert "secret" not in repr(HttpSettings("http://c.example", token="secret"))


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_takes_the_batch(sink, collector, status):
    collector.judge = answering(status)
    assert list(await sink.send(events_of(3))) == []


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 429, 500, 502, 503])
async def test_other_answers_leave_the_batch_to_be_sent_again(sink, collector, status):
    collector.judge = answering(status, location="http://127.0.0.1:9/")
    with pytest.raises(SinkUnavailable, match=str(status)):
        await sink.send(events_of(3))
    assert len(collector.posts) == 1


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        ("17", 17.0),
        ("0", 0.0),
        (format_datetime(datetime.fromtimestamp(NOW_S + 90, UTC), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW_S - 90, UTC), usegmt=True), 0.0),
        ("9" * 400, 999_999_999.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
async def test_retry_after_is_passed_on(sink, collector, header, expected_s):
    collector.judge = answering(429, retry_after=header)
    with pytest.raises(SinkUnavailable) as raised:
        await sink.send(events_of(1))
    assert raised.value.retry_after_s == expected_s


@pytest.mark.parametrize("bad", [{0}, {7}, {3}, {2, 3}, {0, 4, 7}, set(range(8))])
async def test_refused_batch_is_halved_until_the_bad_events_stand_alone(sink, collector, bad):
    collector.judge = refusing(bad)
    refusals = await sink.send(events_of(8))
    assert [one.position for one in refusals] == sorted(bad)
    assert all("400" in one.reason for one in refusals)
    kept = [json.loads(line)["metadata"]["sequence"] for line in collector.kept]
    assert kept == [n for n in range(8) if n not in bad]


async def test_halving_asks_few_times(sink, collector):
    collector.judge = refusing({17})
    await sink.send(events_of(64))
    assert len(collector.posts) <= 2 * 7


async def test_collector_that_fails_while_halving_leaves_the_batch(sink, collector):
    collector.judge = lambda posted: (400 if len(posted.lines) > 1 else 503, {})
    with pytest.raises(SinkUnavailable):
        await sink.send(events_of(4))


async def test_batch_over_a_megabyte_is_sent_in_parts(sink, collector, monkeypatch):
    monkeypatch.setattr(siem_http, "BODY_BYTES_MAX", 10_000)
    events = events_of(30)
    assert list(await sink.send(events)) == []
    assert collector.kept == [event.data for event in events]
    assert len(collector.posts) > 1
    assert all(sum(map(len, p.lines)) + len(p.lines) <= 10_000 for p in collector.posts)


async def test_answer_that_does_not_end_is_left(sink, collector):
    collector.answer = b"x" * 100_000
    collector.judge = answering(200, content_length=str(10**9))
    for event in events_of(2):
        await sink.send([event])
    assert len(collector.kept) == 2


@pytest.mark.slow
async def test_collector_is_trusted_by_its_authority_alone(tmp_path: Path):
    ours = authority()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(ours.pem)
    collector = Collector(tls=server_context(ours, tmp_path))
    await collector.start()
    trusting = HttpSink(HttpSettings(collector.url, ca_file=ca_file), lambda: NOW_S)
    doubting = HttpSink(HttpSettings(collector.url), lambda: NOW_S)
    try:
        await trusting.send(events_of(1))
        with pytest.raises(SinkUnavailable, match=r"(?i)certificate"):
            await doubting.send(events_of(1))
    finally:
        await trusting.aclose()
        await doubting.aclose()
        await collector.stop()
    assert len(collector.kept) == 1


@pytest.mark.slow
async def test_certificate_of_another_host_is_refused(tmp_path: Path):
    ours = authority()
    (tmp_path / "ca.pem").write_bytes(ours.pem)
    collector = Collector(tls=server_context(ours, tmp_path, ELSEWHERE))
    await collector.start()
    sink = HttpSink(HttpSettings(collector.url, ca_file=tmp_path / "ca.pem"), lambda: NOW_S)
    try:
        with pytest.raises(SinkUnavailable):
            await sink.send(events_of(1))
    finally:
        await sink.aclose()
        await collector.stop()
    assert collector.kept == []


async def read_back(collector, since_ms, until_ms, token=""):
    settings = HttpSettings(collector.url, token=token, query_url=collector.url, timeout_s=2.0)
    reader = HttpSinkReader(settings)
    return await asyncio.to_thread(lambda: list(reader.lines(since_ms, until_ms)))


async def test_span_is_read_back(sink, collector):
    events = events_of(10)
    await sink.send(events)
    found = await read_back(collector, siem.START_MS + 2_000, siem.START_MS + 5_000)
    assert found == [event.data for event in events[2:5]]


async def test_refused_query_says_what_to_do(collector):
    collector.judge = answering(403)
    with pytest.raises(StateError, match="403") as raised:
        await read_back(collector, 0, 1)
    assert "--from" in raised.value.advice


async def test_query_without_a_collector_says_what_to_do(collector):
    await collector.stop()
    with pytest.raises(StateError):
        await read_back(collector, 0, 1)
