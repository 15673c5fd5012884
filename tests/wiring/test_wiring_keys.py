"""The first start, folders from before there was a ring, and the key that a worker signs with."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.ports.journal_conformance import NOW_MS as ANSWERED_MS
from tests.ports.journal_conformance import answer, void
from tests.support.keyring import DAY_MS, RULES, START_MS

from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.secret_file import make_secret
from verismo.adapters.signer_file import FileSigner
from verismo.attest.keyentry import judge_key
from verismo.attest.succession import NO_KEY
from verismo.control.rotation import Rotation
from verismo.model.errors import StateError
from verismo.ports.signer import SigningFailed
from verismo.wiring.keys import (
    SETTLED_MS,
    TokenKeys,
    exposing_keys,
    open_rotation,
    open_signer,
    prepare_keys,
    rotating,
)


class Clock:
    """A clock that the test owns."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def ring_of(data: Path):
    return open_rotation(data, RULES).history()[-1].ring


def token_keys(data: Path, clock: Clock) -> TokenKeys:
    return TokenKeys(data, RULES, FileSigner, clock)


def test_first_start_makes_ring_and_keys_and_the_second_nothing(tmp_path: Path):
    made = prepare_keys(tmp_path, RULES, START_MS)
    before = sorted((tmp_path / "keys").glob("*.key"))
    assert sorted(made) == before, "each is named to the operator"
    names = sorted(path.name.split("-")[0] for path in before)
    assert names == ["evidence", "log", "plan", "rollup", "token.key"]
    assert prepare_keys(tmp_path, RULES, START_MS + DAY_MS) == []
    assert sorted((tmp_path / "keys").glob("*.key")) == before
    assert ring_of(tmp_path).version == 1


def test_folder_from_before_the_ring_goes_on_with_its_key(tmp_path: Path):
    token = tmp_path / "keys" / "token.key"
    make_secret(token)
    old = FileSigner(token, "token").kid
    asyncio.run(_answered(tmp_path))
    made = prepare_keys(tmp_path, RULES, ANSWERED_MS + 90 * DAY_MS)
    assert sorted(path.name.split("-")[0] for path in made) == ["evidence", "log", "plan", "rollup"]
    first = ring_of(tmp_path).keys[0]
    assert first.kid == old
    assert judge_key(first, answer(1).written_ms, None) == "", "what it signed before still counts"
    assert first.not_after_ms == ANSWERED_MS + 90 * DAY_MS + RULES.active_ms
    assert token_keys(tmp_path, Clock(ANSWERED_MS + 90 * DAY_MS)).signer.kid == old


async def _answered(data: Path) -> None:
    journal = SqliteJournal(data, "s0", void)
    await journal.append(answer(1))
    await journal.close()


def test_old_folder_without_answers_dates_its_key_by_its_file(tmp_path: Path):
    token = tmp_path / "keys" / "token.key"
    make_secret(token)
    os.utime(token, (START_MS // 1_000, START_MS // 1_000))
    prepare_keys(tmp_path, RULES, START_MS + 5 * DAY_MS)
    assert ring_of(tmp_path).keys[0].not_before_ms == START_MS


def test_key_that_signed_answers_and_is_gone_is_not_made_anew(tmp_path: Path):
    asyncio.run(_answered(tmp_path))
    with pytest.raises(StateError, match="has answers signed with it") as caught:
        prepare_keys(tmp_path, RULES, START_MS)
    assert "backup" in caught.value.advice
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("role", ["token", "evidence"])
def test_private_key_that_the_ring_names_and_is_gone_stops_the_start(tmp_path: Path, role: str):
    prepare_keys(tmp_path, RULES, START_MS)
    for path in (tmp_path / "keys").glob(f"{role}*"):
        path.unlink()
    with pytest.raises(StateError, match=f"the {role} key") as caught:
        prepare_keys(tmp_path, RULES, START_MS + 1)
    assert "--with-keys" in caught.value.advice
    assert not list((tmp_path / "keys").glob(f"{role}*"))


def test_gateway_that_was_off_for_months_starts_with_a_new_key(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    now_ms = START_MS + 100 * DAY_MS
    (made,) = prepare_keys(tmp_path, RULES, now_ms)
    key = ring_of(tmp_path).keys[-1]
    assert made.name == f"token-{key.kid}.key"
    assert key.emergency == NO_KEY
    assert token_keys(tmp_path, Clock(now_ms)).signer.kid == key.kid


def test_clock_far_ahead_at_the_start_makes_no_key_until_a_person_says_so(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    before = ring_of(tmp_path)
    now_ms = START_MS + 5 * 365 * DAY_MS
    with pytest.raises(StateError, match="1825 days") as caught:
        prepare_keys(tmp_path, RULES, now_ms)
    assert "date -u" in caught.value.advice
    assert ring_of(tmp_path) == before
    assert prepare_keys(tmp_path, RULES, START_MS + DAY_MS) == [], "the clock was put right"
    said = open_rotation(tmp_path, RULES).rotate("token", now_ms, "was off").key
    assert said is not None
    assert prepare_keys(tmp_path, RULES, now_ms) == [], "or a person said that it is right"


def test_first_key_file_stays_away_once_it_was_deleted(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    rotation = open_rotation(tmp_path, RULES)
    rotation.rotate("token", START_MS)
    now_ms = START_MS + 20 * DAY_MS
    rotation.step(now_ms)
    assert not (tmp_path / "keys" / "token.key").exists()
    assert prepare_keys(tmp_path, RULES, now_ms) == []
    assert not (tmp_path / "keys" / "token.key").exists()


def test_worker_switches_by_the_clock_and_not_before(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    clock = Clock()
    keys = token_keys(tmp_path, clock)
    first = keys.signer
    pending = open_rotation(tmp_path, RULES).rotate("token", START_MS).key
    assert pending is not None
    keys.refresh()  # the old key's end came nearer
    assert keys.signer.kid == first.kid
    clock.now_ms = pending.not_before_ms - 1
    assert keys.refresh() is None
    clock.now_ms = pending.not_before_ms
    switched = keys.refresh()
    assert switched is not None
    assert switched.kid == pending.kid
    assert keys.refresh() is None
    assert first.sign(b"m"), "whoever has not looked yet may sign with the old key until its end"


def test_worker_that_cannot_look_stops_signing_when_its_key_ends(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    clock = Clock()
    signer = token_keys(tmp_path, clock).signer
    clock.now_ms = START_MS + RULES.active_ms - 1
    assert signer.sign(b"m")
    clock.now_ms = START_MS + RULES.active_ms
    with pytest.raises(SigningFailed):
        signer.sign(b"m")


def test_worker_without_a_key_in_force_keeps_the_old_one_which_refuses(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    clock = Clock()
    keys = token_keys(tmp_path, clock)
    before = keys.signer
    clock.now_ms = START_MS + RULES.active_ms
    with pytest.raises(StateError, match="no token key is in force") as caught:
        keys.refresh()
    assert "--emergency" in caught.value.advice
    assert keys.signer is before


def test_worker_takes_a_replacement_for_a_revoked_key_at_once(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    keys = token_keys(tmp_path, Clock())
    used = keys.signer.kid
    made = open_rotation(tmp_path, RULES).revoke(used, START_MS, "it leaked").key
    assert made is not None
    switched = keys.refresh()
    assert switched is not None
    assert switched.kid == made.kid
    published = keys.published.jwks(START_MS + 2_000).body.decode()
    assert made.kid in published
    assert used not in published


def test_worker_refuses_a_file_with_another_key(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    (tmp_path / "keys" / "token.key").write_bytes(bytes(32))
    with pytest.raises(StateError, match="not the token key"):
        token_keys(tmp_path, Clock())


def test_worker_keeps_its_key_while_the_ring_is_damaged(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    keys = token_keys(tmp_path, Clock())
    (tmp_path / "keyring" / "00000002.json").write_text("{}")
    with pytest.raises(StateError, match="cannot be read"):
        keys.refresh()
    assert keys.signer.sign(b"m")


def test_signer_of_a_role_that_has_none_is_made_named_in_the_ring_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    prepare_keys(tmp_path, RULES, START_MS)
    with caplog.at_level("INFO", "verismo.keys"):
        signer = open_signer(tmp_path, "witness", RULES, START_MS + 1)
        open_signer(tmp_path, "witness", RULES, START_MS + 1)
    (record,) = caplog.records
    assert record.message == "made a key"
    assert record.__dict__["fields"]["file"] == str(
        KeyRingFiles(tmp_path).key_file(signer.kid, "witness")
    )
    assert ring_of(tmp_path).keys[-1].kid == signer.kid
    assert open_signer(tmp_path, "witness", RULES, START_MS + 2).kid == signer.kid
    assert open_signer(tmp_path, "log", RULES, START_MS).kid != signer.kid


async def test_metric_says_when_the_last_published_key_ends(tmp_path: Path):
    expose = exposing_keys(tmp_path)
    assert len(await expose()) == 1, "a head alone before there is a ring"
    prepare_keys(tmp_path, RULES, START_MS)
    (_, line) = await expose()
    end_s = (START_MS + RULES.active_ms) / 1_000
    assert line == f'verismo_key_ends_timestamp_seconds{{role="token"}} {end_s}\n'
    open_rotation(tmp_path, RULES).rotate("token", START_MS)
    assert await expose() != [_, line]


async def test_ring_that_cannot_be_read_is_no_data_and_no_other_metric_suffers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    prepare_keys(tmp_path, RULES, START_MS)
    (tmp_path / "keyring" / "00000001.json").write_text("{}")
    assert len(await exposing_keys(tmp_path)()) == 1
    assert "the key ring cannot be read" in caplog.messages


def test_two_starts_at_once_agree_on_one_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The other process makes its first version while this one is about to."""
    begin = Rotation.begin
    calls: list[int] = []

    def beaten(self: Rotation, *arguments):
        if not calls:
            calls.append(1)
            begin(Rotation(KeyRingFiles(tmp_path), RULES), *arguments)
        return begin(self, *arguments)

    monkeypatch.setattr(Rotation, "begin", beaten)
    prepare_keys(tmp_path, RULES, START_MS)
    assert ring_of(tmp_path).version == 1


async def test_a_clock_that_is_set_makes_no_key_until_it_was_right_for_a_while(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    clock, ticks = Clock(), Clock(0)
    step = rotating(tmp_path, RULES, clock, ticks)
    await step()
    clock.now_ms += 365 * DAY_MS
    for _ in range(2):
        with pytest.raises(StateError, match="was set") as refusal:
            await step()
        assert "keys rotate --emergency" in refusal.value.advice
    clock.now_ms = START_MS + 1_000
    with pytest.raises(StateError, match="was set"):
        await step()
    ticks.now_ms += SETTLED_MS
    clock.now_ms += SETTLED_MS
    await step()
    assert ring_of(tmp_path).version == 1, "a wrong clock has left nothing behind"
    clock.now_ms += RULES.active_ms - 2 * RULES.lead_ms
    ticks.now_ms += RULES.active_ms - 2 * RULES.lead_ms
    await step()
    assert ring_of(tmp_path).version == 2, "and the next key comes in time"
