"""Asking witnesses: real witnesses over HTTP, a real ledger, and every way in which it can fail."""

import asyncio
import base64
import itertools
import shutil
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
from tests.support.ledger import EU, ISSUER, NOW_MS, US, Place
from tests.support.tilelog import NoteKey, witness_key
from tests.support.waiting import until
from tests.support.witness import Clock, open_place, serving

from verismo.adapters.contradictions_file import ContradictionsFile
from verismo.adapters.cosigned_folder import FolderCosigned
from verismo.adapters.tiles_folder import FolderTiles
from verismo.adapters.witness_http import HttpWitnesses
from verismo.adapters.witness_sqlite import SqliteWitness
from verismo.attest.checkpoint import open_checkpoint, read_checkpoint
from verismo.attest.note import read_note, verifier_key
from verismo.attest.witnesspolicy import read_policy
from verismo.control.contradictions import UNKNOWN, Contradicting, is_refusal, look
from verismo.control.cosigned import Standing, standing
from verismo.control.witnessing import WitnessDesk, Witnessing
from verismo.control.witnesspeer import PAUSE_MS_MAX, WitnessAddress
from verismo.control.witnesstarget import target_of
from verismo.model.errors import StateError
from verismo.model.ledger import origin_of
from verismo.ports.ledger import LedgerForked
from verismo.ports.witness import (
    Contradiction,
    Contradictions,
    Cosigned,
    Declined,
    SizeConflict,
    TrustedLog,
    WitnessUnavailable,
)
from verismo.wiring.witness import MEMORY_FILE

pytestmark = pytest.mark.slow
NAMES = ("alice", "bob", "carol")


class Setting:
    """A ledger and witnesses that run."""

    def __init__(self, folder, place, urls, keys, client):
        self.folder = folder
        self.place = place
        self.keys = keys
        self.urls = urls
        self.client = client
        self.clock_ms = NOW_MS
        self.integrator = place.integrator()
        self.cosigned = FolderCosigned(place.log_folder)
        self.contradictions = ContradictionsFile(place.folder)

    def policy(self, quorum="all"):
        lines = [f"witness {name} {key.vkey}" for name, key in self.keys.items()]
        group = [f"group g {quorum} {' '.join(self.keys)}", "quorum g"]
        return read_policy("\n".join([*lines, *group, ""]).encode())

    def witnessing(self, quorum="all", **parts):
        desk = WitnessDesk(
            policy=self.policy(quorum),
            addresses=tuple(
                WitnessAddress(name, key, self.urls[name]) for name, key in self.keys.items()
            ),
            client=self.client,
            tiles=self.place.tiles,
            cosigned=self.cosigned,
            contradictions=self.contradictions,
            now_ms=lambda: self.clock_ms,
        )
        return Witnessing(msgspec.structs.replace(desk, **parts))

    def publish(self, count=1, region="eu"):
        """Let the integrator publish more; what it says is published."""
        self.clock_ms += 1_000
        self.place.source.add(count, region=region)
        return self.integrator.step(self.clock_ms).published

    def log_key(self, log=EU):
        return verifier_key(origin_of(ISSUER, log), self.place.signer.public_key)

    def published_by(self, log=EU, policy=None):
        """Verify the published checkpoint; returns its size and who has cosigned it."""
        data = self.place.tiles.read(log, "checkpoint")
        checkpoint, note = open_checkpoint(data, self.log_key(log))
        return checkpoint.size, (policy or self.policy()).quorum_met(note).names

    def kept(self, log=EU):
        data = self.cosigned.cosigned(log)
        if data is None:
            return None
        checkpoint, note = open_checkpoint(data, self.log_key(log))
        return checkpoint.size, self.policy().quorum_met(note).names

    def memory(self, name):
        return self.folder / name / MEMORY_FILE


@asynccontextmanager
async def setting(folder, names=NAMES):
    place = Place(folder / "gateway")
    trusted = TrustedLog("gateway.example/log/", place.signer.public_key, every_log=True)
    async with AsyncExitStack() as stack:
        urls, keys = {}, {}
        for name in names:
            clock = Clock(NOW_MS // 1_000)
            witness = open_place(folder / name, [trusted], clock, f"{name}.example/w")
            keys[name] = witness.key
            urls[name] = await stack.enter_async_context(serving(witness))
        client = HttpWitnesses(5.0)
        stack.push_async_callback(client.aclose)
        yield Setting(folder, place, urls, keys, client)


@pytest.fixture
async def three(tmp_path):
    async with setting(tmp_path) as made:
        yield made


@pytest.fixture
async def one(tmp_path):
    async with setting(tmp_path, ("alice",)) as made:
        yield made


def failures(witnessing, name="alice"):
    (found,) = [standing for standing in witnessing.witnesses() if standing.name == name]
    return {reason: count for reason, count in found.failures.items() if count}


@pytest.mark.parametrize("restarted", [False, True])
async def test_quorum_stays_with_a_log_that_another_key_signs_again(three, restarted):
    witnessing = three.witnessing()
    witnessing.notice(three.publish(3))
    await witnessing.round()
    assert three.kept() == (3, NAMES)
    three.integrator.release()
    three.place.renew_key()
    three.integrator = three.place.integrator()
    if restarted:
        witnessing = three.witnessing()
    published = three.publish(0)
    assert three.published_by() == (3, ())
    witnessing.notice(published)
    await witnessing.round()
    assert three.published_by() == (3, NAMES)
    assert three.kept() == (3, NAMES)
    assert failures(witnessing) == {}


class Faulty:
    """A client over a real one that fails at chosen calls: before the witness, or after it."""

    def __init__(self, client, mode, calls=(1,)):
        self._client = client
        self._mode = mode
        self._calls = calls
        self.count = 0

    async def add_checkpoint(self, url, body):
        self.count += 1
        fails = self.count in self._calls
        if fails and self._mode == "not stored":
            raise WitnessUnavailable("injected")
        answer = await self._client.add_checkpoint(url, body)
        if fails:
            raise WitnessUnavailable("injected")
        return answer


class Answering:
    """A client whose witness answers what a test says."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.bodies = []

    async def add_checkpoint(self, url, body):
        self.bodies.append(body)
        return self.answers.pop(0)


class Held:
    """A client over a real one that holds one URL's requests until it is let go."""

    def __init__(self, client, url):
        self._client = client
        self._url = url
        self.let_go = asyncio.Event()
        self.held = 0
        self.most = 0

    async def add_checkpoint(self, url, body):
        if url == self._url:
            self.held += 1
            self.most = max(self.most, self.held)
            try:
                await self.let_go.wait()
            finally:
                self.held -= 1
        return await self._client.add_checkpoint(url, body)


async def test_every_published_checkpoint_is_cosigned_and_published_again(three):
    witnessing = three.witnessing()
    for count in (3, 300, 1):
        witnessing.notice(three.publish(count))
        await witnessing.round()
        size, names = three.published_by()
        assert names == NAMES
        assert three.kept() == (size, NAMES)
        assert witnessing.logs()[0].cosigned_size == size
        assert witnessing.logs()[0].delay_ms == 0
    three.place.check_all()


async def test_every_log_is_witnessed(three):
    witnessing = three.witnessing()
    three.publish(2, "eu")
    published = {**three.publish(3, "us")}
    witnessing.notice({**published, EU: three.place.tiles.read(EU, "checkpoint")})
    await witnessing.round()
    assert three.published_by(EU) == (2, NAMES)
    assert three.published_by(US) == (3, NAMES)


async def test_a_newer_checkpoint_is_never_replaced_by_a_cosigned_older_one(one):
    held = Held(one.client, one.urls["alice"])
    witnessing = one.witnessing(client=held)
    witnessing.notice(one.publish(3))
    round_ = asyncio.create_task(witnessing.round())
    await until(lambda: held.held == 1)
    one.publish(4)
    held.let_go.set()
    await round_
    assert one.published_by() == (7, ())
    assert one.kept() == (3, ("alice",))
    published, kept = one.place.tiles.read(EU, "checkpoint"), one.cosigned.cosigned(EU)
    assert standing(published, kept, one.log_key(), one.policy()) == Standing(
        "quorum at size 3, 4 behind: alice", 3
    )


async def test_a_checkpoint_that_comes_between_reading_and_publishing_stays(one):
    class Overtaken(FolderTiles):
        """The integrator publishes right before the cosigned one would be."""

        def publish(self, log, note):
            setting_.publish(4)
            super().publish(log, note)

    setting_ = one
    witnessing = one.witnessing(tiles=Overtaken(one.place.log_folder))
    witnessing.notice(one.publish(3))
    await witnessing.round()
    assert one.published_by() == (7, ())
    assert failures(witnessing) == {}


async def test_at_most_one_request_is_under_way_at_a_witness_and_nobody_waits_for_a_slow_one(three):
    held = Held(three.client, three.urls["carol"])
    witnessing = three.witnessing("2", client=held)
    for count in (3, 4, 5):
        witnessing.notice(three.publish(count))
        await witnessing.round()
        assert three.published_by()[1] == ("alice", "bob")
    assert (held.held, held.most) == (1, 1)
    held.let_go.set()
    await until(lambda: held.held == 0)
    await until(lambda: witnessing._peers[2].task.done())
    witnessing.notice(three.publish(1))
    await witnessing.round()
    await until(lambda: three.published_by() == (13, NAMES))
    await witnessing.aclose()


async def test_a_witness_that_never_answers_is_given_up_and_left_alone(one):
    held = Held(one.client, one.urls["alice"])
    witnessing = one.witnessing(client=held, timeout_ms=500)
    witnessing.notice(one.publish(3))
    await witnessing.round()
    assert failures(witnessing) == {"timeout": 1}
    await witnessing.round()
    assert failures(witnessing) == {"timeout": 1}, "it is resting"
    held.let_go.set()

    async def is_cosigned():
        one.clock_ms += PAUSE_MS_MAX
        await witnessing.round()
        return one.published_by() == (3, ("alice",))

    await until(is_cosigned)


async def test_pauses_double_and_end_where_they_should(one):
    witnessing = one.witnessing(client=Faulty(one.client, "not stored", range(1, 100)))
    witnessing.notice(one.publish(3))
    tries = []
    for second in range(300):
        one.clock_ms += 1_000
        before = failures(witnessing).get("unavailable", 0)
        await witnessing.round()
        if failures(witnessing)["unavailable"] > before:
            tries.append(second)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert set(gaps[6:]) == {PAUSE_MS_MAX // 1_000}


async def test_a_clock_that_steps_back_does_not_prolong_a_pause(one):
    witnessing = one.witnessing(client=Faulty(one.client, "not stored"))
    witnessing.notice(one.publish(3))
    await witnessing.round()
    one.clock_ms -= 3_600_000
    await witnessing.round()
    assert one.published_by() == (3, ("alice",))


@pytest.mark.parametrize("mode", ["not stored", "stored"])
async def test_an_answer_that_is_lost_is_made_up_for(one, mode):
    """Fault pair: the witness has stored the checkpoint or not; the log cannot know which."""
    faulty = Faulty(one.client, mode, (2,))
    witnessing = one.witnessing(client=faulty)
    witnessing.notice(one.publish(3))
    await witnessing.round()
    witnessing.notice(one.publish(4))
    await witnessing.round()
    assert one.published_by() == (7, ())
    assert failures(witnessing) == {"unavailable": 1}
    one.clock_ms += 10_000
    witnessing.notice(one.publish(5))
    await witnessing.round()
    assert one.published_by() == (12, ("alice",))
    assert failures(witnessing) == {"unavailable": 1}


@pytest.mark.parametrize("fails_at", ["keep", "publish"])
@pytest.mark.parametrize("mode", ["not stored", "stored"])
async def test_a_write_that_fails_is_done_again(one, mode, fails_at):
    """Fault pair at each of our own writes."""
    failing = [True]

    class Tiles(FolderTiles):
        def publish(self, log, note):
            attempt(fails_at == "publish", lambda: super(Tiles, self).publish(log, note))

    class Kept(FolderCosigned):
        def keep(self, log, note):
            attempt(fails_at == "keep", lambda: super(Kept, self).keep(log, note))

    def attempt(is_chosen, write):
        if not is_chosen or not failing:
            write()
            return
        failing.clear()
        if mode == "stored":
            write()
        raise StateError("injected")

    folder = one.place.log_folder
    witnessing = one.witnessing(tiles=Tiles(folder), cosigned=Kept(folder))
    witnessing.notice(one.publish(3))
    await witnessing.round()
    assert failures(witnessing) == {"state": 1}
    one.clock_ms += 10_000
    await witnessing.round()
    assert one.published_by() == (3, ("alice",))
    assert one.kept() == (3, ("alice",))


async def test_a_restart_asks_nobody_again_for_what_is_there(three):
    witnessing = three.witnessing()
    published = three.publish(3)
    witnessing.notice(published)
    await witnessing.round()
    counting = Faulty(three.client, "stored", ())
    again = three.witnessing(client=counting)
    again.notice(published)
    await again.round()
    assert counting.count == 0
    assert again.logs()[0].cosigned_size == 3
    again.notice(three.publish(1))
    await again.round()
    assert counting.count == 3, "the sizes are known from the kept checkpoint: no 409"
    assert three.published_by() == (4, NAMES)


async def test_a_crash_between_keeping_and_publishing_is_made_good(one):
    witnessing = one.witnessing()
    published = one.publish(3)
    witnessing.notice(published)
    await witnessing.round()
    (one.place.log_folder / EU.path / "checkpoint").write_bytes(published[EU])
    again = one.witnessing(client=Answering())
    again.notice(published)
    await again.round()
    assert one.published_by() == (3, ("alice",))


async def test_a_witness_that_knows_more_or_less_is_asked_from_its_own_size(one):
    first = one.witnessing()
    first.notice(one.publish(3))
    await first.round()
    one.cosigned._file(EU)._path.unlink()
    one.publish(300)
    stranger = one.witnessing()
    stranger.notice({EU: one.place.tiles.read(EU, "checkpoint")})
    await stranger.round()
    assert one.published_by() == (303, ("alice",))
    assert failures(stranger) == {}


async def test_a_witness_with_an_old_memory_is_named_and_caught_up(one, caplog):
    witnessing = one.witnessing()
    witnessing.notice(one.publish(3))
    await witnessing.round()
    memory = SqliteWitness(one.memory("alice"))
    old = memory.head(origin_of(ISSUER, EU))
    witnessing.notice(one.publish(4))
    await witnessing.round()
    assert memory.advance(memory.head(old.origin), old), "its operator put an old copy back"
    memory.close()
    witnessing.notice(one.publish(5))
    await witnessing.round()
    assert failures(witnessing) == {"rolled_back": 1}
    (error,) = [r.fields["error"] for r in caplog.records if r.fields.get("reason")]
    assert "cosigned size 7 and now knows only 3" in error
    assert one.published_by() == (12, ("alice",))


async def test_a_split_view_is_refused_and_the_operator_sees_both_roots(tmp_path, one, caplog):
    """Two trees of one log: a copy of the folder went another way, and asks the same witness."""
    copy = tmp_path / "copy"
    shutil.copytree(one.place.folder, copy)
    witnessing = one.witnessing()
    witnessing.notice(one.publish(3))
    await witnessing.round()
    other = Place(copy)
    other.source.add(5, slot="s9")
    published = other.integrator().step(one.clock_ms).published
    cosigned = FolderCosigned(other.log_folder)
    splitting = one.witnessing(tiles=other.tiles, cosigned=cosigned)
    splitting.notice(published)
    await splitting.round()
    assert failures(splitting) == {"split": 1}
    assert cosigned.cosigned(EU) is None
    (error,) = [r.fields["error"] for r in caplog.records if r.fields.get("reason") == "split"]
    for data in (one.place.tiles.read(EU, "checkpoint"), published[EU]):
        root = open_checkpoint(data, one.log_key())[0].root
        assert base64.b64encode(root).decode() in error


async def test_a_split_view_of_one_size_is_refused_with_both_roots(tmp_path, one, caplog):
    copy = tmp_path / "copy"
    shutil.copytree(one.place.folder, copy)
    witnessing = one.witnessing()
    witnessing.notice(one.publish(3))
    await witnessing.round()
    other = Place(copy)
    other.source.add(3, slot="s9")
    published = other.integrator().step(one.clock_ms).published
    splitting = one.witnessing(tiles=other.tiles, cosigned=FolderCosigned(other.log_folder))
    splitting.notice(published)
    await splitting.round()
    assert failures(splitting) == {"split": 1}
    (error,) = [r.fields["error"] for r in caplog.records if r.fields.get("reason") == "split"]
    for data in (one.place.tiles.read(EU, "checkpoint"), published[EU]):
        root = open_checkpoint(data, one.log_key())[0].root
        assert base64.b64encode(root).decode() in error


async def test_a_witness_that_knows_a_larger_tree_tells_an_old_copy_of_the_ledger(one, caplog):
    witnessing = one.witnessing(client=Answering(SizeConflict(99)))
    witnessing.notice(one.publish(3))
    await witnessing.round()
    assert failures(witnessing) == {"ahead": 1}
    (error,) = [r.fields["error"] for r in caplog.records if r.fields.get("reason") == "ahead"]
    assert "old copy of the ledger" in error


@pytest.fixture
async def snapshot(tmp_path, one):
    """A copy of the whole machine at size 3; at size 7 alice has cosigned since."""
    witnessing = one.witnessing()
    witnessing.notice(one.publish(3))
    await witnessing.round()
    folder = tmp_path / "snapshot"
    shutil.copytree(one.place.folder, folder)
    witnessing.notice(one.publish(4))
    await witnessing.round()
    assert one.published_by() == (7, ("alice",))
    return folder


async def test_a_snapshot_of_the_whole_machine_that_is_put_back_is_told(snapshot, one):
    """Every place here is as old as the others, so only the witness knows better."""
    restored = Place(snapshot)
    restored.source.lists = {"s0": list(one.place.source.lists["s0"][:3])}
    integrator = restored.integrator()
    kept = FolderCosigned(restored.log_folder)
    said = ContradictionsFile(snapshot)
    again = one.witnessing(tiles=restored.tiles, cosigned=kept, contradictions=said)

    async def go_on(count):
        one.clock_ms += 2 * PAUSE_MS_MAX
        restored.source.add(count, iat=NOW_MS + 1)
        again.notice(integrator.step(one.clock_ms).published)
        await again.round()
        return failures(again)

    assert await go_on(2) == {"ahead": 1}
    assert said.contradictions().stops, "the only witness is the quorum"
    assert await go_on(9) == {"ahead": 1, "split": 1}
    [contradiction] = said.contradictions().said
    assert (contradiction.log, contradiction.witness) == (EU.path, "alice")
    assert contradiction.reason == "split"
    assert size_of(kept.cosigned(EU)) == 3
    assert size_of(restored.tiles.read(EU, "checkpoint")) == 14, "answers and proofs go on"


def size_of(data):
    return read_checkpoint(read_note(data).text).size


def lying_line(one, text):
    """A cosignature under the witness's name and key hash, by another key."""
    line = witness_key("mallory").cosignature(text, NOW_MS // 1_000)
    key = one.keys["alice"]
    return msgspec.structs.replace(line, name=key.name, key_hash=key.key_hash).line


@pytest.mark.parametrize("kind", ["another key", "another text", "unknown key", "no line", "noise"])
async def test_a_lying_witness_is_refused_and_named(one, caplog, kind):
    published = one.publish(3)
    text = published[EU].decode().partition("\n\n")[0] + "\n"
    stranger = witness_key("stranger.example")
    lines = {
        "another key": lying_line(one, text),
        "another text": lying_line(one, "other text\n"),
        "unknown key": stranger.cosignature(text, 1).line,
        "no line": "",
        "noise": "thank you\n",
    }
    witnessing = one.witnessing(client=Answering(Cosigned(lines[kind])))
    witnessing.notice(published)
    await witnessing.round()
    assert failures(witnessing) == {"bad_answer": 1}
    assert [r.fields["witness"] for r in caplog.records if hasattr(r, "fields")] == ["alice"]
    assert one.published_by() == (3, ())
    assert one.kept() is None


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "forbidden"), (404, "unknown_log"), (400, "declined")]
)
async def test_a_refusal_is_named(one, status, reason):
    witnessing = one.witnessing(client=Answering(Declined(status, "no")))
    witnessing.notice(one.publish(3))
    await witnessing.round()
    assert failures(witnessing) == {reason: 1}


async def test_a_log_that_a_witness_does_not_know_does_not_keep_it_from_others(one):
    origin = f"{origin_of(ISSUER, EU)}"
    memory = SqliteWitness(one.memory("alice"))
    memory._connection.execute("DELETE FROM trusted")
    memory.trust([TrustedLog(origin, one.place.signer.public_key)])
    memory.close()
    witnessing = one.witnessing()
    witnessing.notice({**one.publish(2, "eu"), **one.publish(3, "us")})
    witnessing.notice({US: one.place.tiles.read(US, "checkpoint")})
    await witnessing.round()
    assert failures(witnessing) == {"unknown_log": 1}
    assert one.published_by(EU) == (2, ("alice",))


async def test_a_witness_whose_size_never_fits_is_given_up(one):
    sizes = [SizeConflict(size) for size in (1, 2, 1, 2)]
    witnessing = one.witnessing(client=Answering(*sizes))
    witnessing.notice(one.publish(3))
    await witnessing.round()
    assert failures(witnessing) == {"conflict": 1}


async def test_a_damaged_tile_is_our_own_fault_and_no_witness_is_asked(one):
    published = one.publish(300)
    witnessing = one.witnessing(client=Answering(SizeConflict(100)))
    for path in (one.place.log_folder / EU.path / "tile" / "0").rglob("*"):
        if path.is_file():
            path.unlink()
    witnessing.notice(published)
    await witnessing.round()
    assert failures(witnessing) == {"state": 1}


async def test_what_was_tampered_with_in_the_published_checkpoint_is_written_over(one):
    published = one.publish(3)
    text = published[EU].decode().partition("\n\n")[0] + "\n"
    target = one.place.log_folder / EU.path / "checkpoint"
    target.write_bytes(published[EU] + lying_line(one, text).encode())
    witnessing = one.witnessing()
    witnessing.notice(published)
    await witnessing.round()
    assert one.published_by() == (3, ("alice",))


async def test_a_published_log_of_another_history_stops_the_publishing(one):
    published = one.publish(3)

    class Foreign(FolderTiles):
        def publish(self, log, note):
            raise LedgerForked("another root")

    witnessing = one.witnessing(tiles=Foreign(one.place.log_folder))
    witnessing.notice(published)
    await witnessing.round()
    assert failures(witnessing) == {"state": 1}


async def test_the_delay_counts_from_the_first_checkpoint_without_a_quorum(one):
    faulty = Faulty(one.client, "not stored", (1, 2, 3))
    witnessing = one.witnessing(client=faulty)
    witnessing.notice(one.publish(1))
    began_ms = one.clock_ms
    for _ in range(3):
        await witnessing.round()
        one.clock_ms += 60_000
        witnessing.notice(one.publish(1))
    assert witnessing.logs()[0].delay_ms == one.clock_ms - began_ms
    assert witnessing.logs()[0].cosigned_size is None
    one.clock_ms += 60_000
    await witnessing.round()
    assert witnessing.logs()[0].delay_ms == 0
    assert witnessing.witnesses()[0].cosigned_age_ms == 0
    one.clock_ms += 5_000
    witnessing.notice(one.publish(1))
    one.clock_ms += 30
    assert witnessing.logs()[0].delay_ms == 30


async def test_standing_says_who_is_missing(three):
    policy = three.policy()
    key = three.log_key()

    def said():
        published = three.place.tiles.read(EU, "checkpoint")
        return standing(published, three.cosigned.cosigned(EU), key, policy).words

    assert said() == "nothing published"
    published = three.publish(3)
    assert said() == "NO QUORUM: nobody"
    witnessing = three.witnessing(client=Faulty(three.client, "not stored", (1,)))
    witnessing.notice(published)
    await witnessing.round()
    assert said() == "NO QUORUM: bob, carol"
    three.clock_ms += 5_000
    await witnessing.round()
    assert said() == "quorum: alice, bob, carol"
    other = NoteKey("gateway.example/log/eu/2026").key
    published = three.place.tiles.read(EU, "checkpoint")
    assert standing(published, None, other, policy).words.startswith("REFUSED: ")


async def test_a_damaged_published_checkpoint_is_told_and_never_written_over(one):
    published = one.publish(3)
    checkpoint = one.place.log_folder / EU.path / "checkpoint"
    checkpoint.write_bytes(b"damaged")
    witnessing = one.witnessing()
    witnessing.notice(published)
    await witnessing.round()
    assert failures(witnessing) == {"state": 1}
    assert checkpoint.read_bytes() == b"damaged"
    checkpoint.unlink()
    one.clock_ms += PAUSE_MS_MAX
    await witnessing.round()
    assert one.published_by() == (3, ("alice",))
    assert one.kept() == (3, ("alice",))


def unsigned(one, size):
    """A note that is larger than any, and that no witness has signed."""
    lines = one.place.tiles.read(EU, "checkpoint").decode().split("\n")
    return "\n".join([lines[0], str(size), *lines[2:]]).encode()


@pytest.mark.parametrize("kind", ["garbage", "nobody's", "empty"])
async def test_a_damaged_copy_with_the_quorum_is_made_anew(one, caplog, kind):
    published = one.publish(3)
    damage = {"garbage": b"damaged", "nobody's": unsigned(one, 9_999), "empty": b""}[kind]
    cosigned = one.place.log_folder / EU.path / "cosigned"
    cosigned.write_bytes(damage)
    witnessing = one.witnessing()
    witnessing.notice(published)
    await witnessing.round()
    assert failures(witnessing) == {}
    assert one.kept() == one.published_by() == (3, ("alice",))
    assert "made anew" in "".join(record.message for record in caplog.records)
    cosigned.write_bytes(damage)  # while it runs
    witnessing.notice(one.publish(4))
    await witnessing.round()
    assert failures(witnessing) == {}
    assert one.kept() == one.published_by() == (7, ("alice",))


async def test_without_a_quorum_nothing_is_kept_as_cosigned_before_somebody_has(one, caplog):
    (key,) = one.keys.values()
    policy = read_policy(f"witness alice {key.vkey}\nquorum none\n".encode())
    published = one.publish(3)
    unreached = one.witnessing(policy=policy, client=Faulty(one.client, "not stored"))
    unreached.notice(published)
    await unreached.round()
    assert one.kept() is None
    await unreached.aclose()
    witnessing = one.witnessing(policy=policy)
    witnessing.notice(published)
    await witnessing.round()
    await until(lambda: one.kept() == (3, ("alice",)))
    await witnessing.aclose()
    assert "made anew" not in "".join(record.message for record in caplog.records)


@pytest.mark.parametrize("damage", [None, b"damaged"])
async def test_the_copy_with_the_quorum_comes_back_at_a_start_although_nothing_grows(one, damage):
    published = one.publish(3)
    witnessing = one.witnessing()
    witnessing.notice(published)
    await witnessing.round()
    cosigned = one.place.log_folder / EU.path / "cosigned"
    cosigned.unlink()
    if damage is not None:
        cosigned.write_bytes(damage)
    again = one.witnessing(client=Answering())
    again.notice(published)
    await again.round()
    assert one.kept() == (3, ("alice",))


async def test_standing_names_a_damaged_copy_and_keeps_to_what_is_published(one):
    published = one.publish(3)
    one.place.tiles.publish(EU, published[EU])

    def said(cosigned):
        data = one.place.tiles.read(EU, "checkpoint")
        return standing(data, cosigned, one.log_key(), one.policy()).words

    assert said(b"garbage").startswith("NO QUORUM: nobody; the file `cosigned` is damaged")
    witnessing = one.witnessing()
    witnessing.notice(published)
    await witnessing.round()
    assert said(b"garbage") == "quorum: alice"


async def test_a_witness_that_has_a_newer_checkpoint_of_ours_is_asked_for_that_one(one):
    first = one.publish(3)
    held = Held(Answering(SizeConflict(7)), one.urls["alice"])
    witnessing = one.witnessing(client=held)
    witnessing.notice(first)
    round_ = asyncio.create_task(witnessing.round())
    await until(lambda: held.held == 1)
    witnessing.notice(one.publish(4))
    held.let_go.set()
    await round_
    assert failures(witnessing) == {"conflict": 1}, "no alarm: this ledger has that size"


async def test_closing_gives_up_what_is_under_way(one):
    held = Held(one.client, one.urls["alice"])
    witnessing = one.witnessing("any", client=held)
    witnessing.notice(one.publish(3))
    round_ = asyncio.create_task(witnessing.round())
    await until(lambda: held.held == 1)
    round_.cancel()
    await witnessing.aclose()
    assert held.held == 0
    assert one.published_by() == (3, ())


class Liars:
    """A client over a real one whose chosen witnesses claim to have cosigned a larger tree."""

    def __init__(self, setting, *names):
        self._client = setting.client
        self._urls = {setting.urls[name] for name in names}

    async def add_checkpoint(self, url, body):
        if url in self._urls:
            return SizeConflict(9_999)
        return await self._client.add_checkpoint(url, body)


@pytest.mark.parametrize(
    ("quorum", "liars", "stops"),
    [
        ("any", 1, False),
        ("any", 2, True),
        ("2", 1, False),
        ("2", 2, True),
        ("all", 2, False),
        ("all", 3, True),
    ],
)
async def test_a_quorum_that_knows_more_stops_the_ledger_and_one_alone_never_does(
    three, quorum, liars, stops
):
    witnessing = three.witnessing(quorum, client=Liars(three, *NAMES[:liars]))
    witnessing.notice(three.publish(3))
    await witnessing.round()
    found = three.contradictions.contradictions
    await until(lambda: len(found().said) == liars)
    assert found().stops is stops
    assert {one.reason for one in found().said} == {"ahead"}
    await witnessing.aclose()


async def test_a_witness_that_cosigns_again_takes_its_contradiction_back(three):
    witnessing = three.witnessing("2", client=Liars(three, "alice"))
    witnessing.notice(three.publish(3))
    await witnessing.round()
    await until(lambda: bool(three.contradictions.contradictions().said))
    await witnessing.aclose()
    again = three.witnessing("2")
    again.notice(three.publish(3))
    await again.round()
    await until(lambda: not three.contradictions.contradictions().said)
    await again.aclose()
    assert not (three.place.folder / "witness-contradictions.json").exists()


def policy_of(three, *names):
    witnesses = [f"witness {name} {three.keys[name].vkey}" for name in names]
    return read_policy(
        "\n".join([*witnesses, f"group g any {' '.join(names)}\nquorum g\n"]).encode()
    )


async def said_ahead(three, policy, name):
    """Let one witness contradict a policy's gateway; returns what is kept then."""
    contradicting = Contradicting(policy, three.contradictions)
    target = target_of(EU, three.publish(1)[EU])
    await contradicting.heard(target, name, "ahead", "wrong")
    return three.contradictions.contradictions()


@pytest.mark.parametrize(
    ("names", "stops"),
    [
        (("alice",), False),
        (("alice", "bob"), True),
        (("alice", "zoe"), False),
        (("zoe", "yann"), False),
    ],
)
async def test_only_witnesses_of_the_policy_make_a_refusal(three, names, stops):
    assert is_refusal(policy_of(three, "alice", "bob"), frozenset(names)) is stops
    assert is_refusal(policy_of(three, "alice"), frozenset(names)) is ("alice" in names)


async def test_a_witness_that_left_the_policy_does_not_make_another_one_a_quorum(three):
    assert not (await said_ahead(three, policy_of(three, "alice", "bob"), "alice")).stops
    found = await said_ahead(three, policy_of(three, "bob", "carol"), "bob")
    assert not found.stops
    assert [one.witness for one in found.said] == ["bob"]


async def test_what_a_witness_said_that_left_the_policy_is_dropped_at_the_next_cosignature(three):
    await said_ahead(three, policy_of(three, "alice", "bob"), "alice")
    contradicting = Contradicting(policy_of(three, "bob", "carol"), three.contradictions)
    await contradicting.cosigned(US, "carol")
    assert three.contradictions.contradictions() == Contradictions()


async def test_what_a_quorum_said_stays_whole_when_one_of_it_leaves_the_policy(three):
    await said_ahead(three, policy_of(three, "alice", "bob"), "alice")
    found = await said_ahead(three, policy_of(three, "alice", "bob"), "bob")
    assert found.stops
    await Contradicting(policy_of(three, "bob"), three.contradictions).cosigned(EU, "bob")
    assert three.contradictions.contradictions() == found


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_cosignature_at_the_start_takes_back_what_the_witness_said_if_it_verifies(
    one, is_whole
):
    published = one.publish(3)
    witnessing = one.witnessing()
    witnessing.notice(published)
    await witnessing.round()
    note = {EU: one.place.tiles.read(EU, "checkpoint")}
    said = Contradictions(said=(Contradiction(EU.path, "alice", "ahead", "at size 9"),))
    one.contradictions.keep(said)
    client = one.client if is_whole else Answering(Cosigned(""))
    await one.witnessing(client=client).look(note)
    assert one.contradictions.contradictions() == (Contradictions() if is_whole else said)


async def test_what_a_quorum_has_said_is_not_taken_back_by_one_of_them(three):
    witnessing = three.witnessing("2", client=Liars(three, "alice", "bob"))
    witnessing.notice(three.publish(3))
    await witnessing.round()
    await until(lambda: three.contradictions.contradictions().stops)
    await witnessing.aclose()
    again = three.witnessing("all")
    again.notice(three.publish(3))
    await again.round()
    assert three.published_by() == (6, NAMES)
    assert three.contradictions.contradictions().stops


async def test_before_anything_is_signed_a_snapshot_that_was_put_back_is_told(snapshot, one):
    said, restored = ContradictionsFile(snapshot), Place(snapshot)
    again = one.witnessing(tiles=restored.tiles, contradictions=said)
    await again.look({EU: restored.tiles.read(EU, "checkpoint")})
    assert failures(again) == {"ahead": 1}
    [contradiction] = said.contradictions().said
    assert "at size 7, which this ledger, at size 3, has not reached" in contradiction.detail
    assert said.contradictions().stops


async def test_before_anything_is_signed_another_history_of_one_size_is_told(tmp_path, one):
    copy = tmp_path / "copy"
    shutil.copytree(one.place.folder, copy)
    witnessing = one.witnessing()
    witnessing.notice(one.publish(3))
    await witnessing.round()
    other = Place(copy)
    other.source.add(3, slot="s9")
    published = other.integrator().step(one.clock_ms).published
    again = one.witnessing(tiles=other.tiles, contradictions=ContradictionsFile(copy))
    await again.look(published)
    assert failures(again) == {"split": 1}


@pytest.mark.parametrize(
    "answer", [SizeConflict(0), SizeConflict(2), Declined(404, "no"), Declined(403, "no")]
)
async def test_a_witness_that_knows_no_more_says_nothing_at_the_start(one, answer):
    published = one.publish(3)
    witnessing = one.witnessing(client=Answering(answer))
    await witnessing.look({**published, US: b"damaged"})
    assert failures(witnessing) == {}
    assert not one.contradictions.contradictions().said


async def test_the_newest_log_is_cosigned_again_or_not_reached_at_the_start(one):
    witnessing = one.witnessing()
    published = one.publish(3)
    witnessing.notice(published)
    await witnessing.round()
    await one.witnessing().look({EU: one.place.tiles.read(EU, "checkpoint")})
    await one.witnessing(client=Faulty(one.client, "not stored", (1,))).look(published)
    assert not one.contradictions.contradictions().said


async def test_what_another_process_has_published_since_is_no_contradiction(one):
    """A process that lost its lease asks for its last checkpoint, late."""
    stale = one.publish(3)
    another = one.witnessing()
    another.notice(one.publish(4))
    await another.round()
    (one.place.log_folder / EU.path / "cosigned").unlink()
    late = one.witnessing()
    late.notice(stale)
    await late.round()
    assert failures(late) == {"conflict": 1}
    assert not one.contradictions.contradictions().said


async def test_a_start_waits_for_a_slow_witness_once_and_not_for_each_log(tmp_path, monkeypatch):
    class Slow:
        """A client whose witness takes three fifths of the limit for each answer."""

        asked = 0

        async def add_checkpoint(self, url, body):
            self.asked += 1
            for _ in range(5):  # the loop looks at its timers
                await asyncio.sleep(0)
            return SizeConflict(0)

    place, slow = Place(tmp_path), Slow()
    for region in ("eu", "us", "ap"):
        place.source.add(3, region=region)
    published = place.integrator().step(NOW_MS).published
    targets = [target_of(log, note) for log, note in published.items()]
    loop, real = asyncio.get_running_loop(), asyncio.get_running_loop().time
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: real() + 60_000 * slow.asked)
        said = await look(slow, WitnessAddress("alice", None, ""), targets, 100_000_000)
    assert slow.asked == 2
    assert [refusal.reason for _, refusal in said] == [UNKNOWN] * 3


async def test_what_another_process_publishes_while_we_ask_at_a_start_is_no_contradiction(one):
    """A second control process begins to ask while the first goes on."""

    class Overtaken:
        """A client over a real one; the other process publishes right before the question."""

        async def add_checkpoint(self, url, body):
            another.notice(one.publish(4))
            await another.round()
            return await one.client.add_checkpoint(url, body)

    another = one.witnessing()
    another.notice(one.publish(3))
    await another.round()
    second = one.witnessing(client=Overtaken())
    await second.look({EU: one.place.tiles.read(EU, "checkpoint")})
    assert one.published_by() == (7, ("alice",))
    assert failures(second) == {}
    assert one.contradictions.contradictions() == Contradictions()


async def test_a_contradiction_that_cannot_be_kept_is_a_failure_of_our_own(one):
    (one.place.folder / "witness-contradictions.json").mkdir()
    witnessing = one.witnessing(client=Answering(SizeConflict(99)))
    witnessing.notice(one.publish(3))
    await witnessing.round()
    assert failures(witnessing) == {"ahead": 1, "state": 1}
