"""Faults in pairs at every write of the integrator: failed and not stored, failed but stored."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ledger import EU, ISSUER, NOW_MS, US, Place
from tests.support.ledgerfaults import Faults, faulty_desk

from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.note import read_note
from verismo.model.errors import StateError
from verismo.model.ledger import origin_of
from verismo.ports.ledger import LeaseElsewhere, LedgerForked

ROUNDS = ((1, 0), (300, 3), (0, 0), (260, 300))
"""What the EU and US slots get before each step: partial tiles, full ones, nothing, both."""


def run(place, integrator, first_ms=NOW_MS):
    """Step through the rounds; returns how many rounds were fed before the fault."""
    for number, (eu, us) in enumerate(ROUNDS):
        place.source.add(eu, slot="s0", region="eu")
        place.source.add(us, slot="s1", region="us")
        integrator.step(first_ms + 1_000 * number)


def writes_of_a_run(tmp_path):
    faults = Faults()
    place = Place(tmp_path / "counted")
    run(place, place.integrator(faulty_desk(place, faults)))
    return faults.count


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["not stored", "stored"])
@pytest.mark.parametrize("restarted", [True, False], ids=["restarted", "going on"])
def test_a_fault_at_any_write_loses_and_doubles_nothing(tmp_path, mode, restarted):
    seen = set()
    for at in range(1, writes_of_a_run(tmp_path) + 1):
        place = Place(tmp_path / str(at))
        faults = Faults(at, mode)
        integrator = place.integrator(faulty_desk(place, faults))
        with pytest.raises(StateError, match="injected"):
            run(place, integrator)
        seen.add(faults.hit.partition("/")[0])
        after = place.integrator() if restarted else integrator
        after.step(NOW_MS + 10_000)
        place.source.add(5)
        after.step(NOW_MS + 20_000)
        place.check_all()
        for log in (EU, US):
            note = place.tiles.read(log, "checkpoint")
            assert place.memory.remembered(origin_of(ISSUER, log)) == note
    assert seen == {
        *("acquire", "renew", "assign", "tile", "prune", "integrated"),
        *("add_checkpoint", "remember", "publish"),
    }


def test_tiles_that_reach_the_disk_later_than_the_checkpoint_are_never_seen(tmp_path):
    """Whatever is published is whole at every moment, also in the middle of a failed step."""
    for at in range(1, writes_of_a_run(tmp_path) + 1, 3):
        place = Place(tmp_path / str(at))
        with pytest.raises(StateError, match="injected"):
            run(place, place.integrator(faulty_desk(place, Faults(at, "not stored"))))
        for log in (EU, US):
            place.check(log)


def two_integrators(tmp_path):
    place = Place(tmp_path)
    place.source.add(10)
    stale, fresh = place.integrator(holder="a"), place.integrator(holder="b")
    stale.step(NOW_MS)
    return place, stale, fresh


def test_a_second_integrator_stands_by_while_the_lease_holds(tmp_path):
    place, stale, fresh = two_integrators(tmp_path)
    with pytest.raises(LeaseElsewhere):
        fresh.step(NOW_MS + 100)
    place.source.add(1)
    stale.step(NOW_MS + 1_000)
    assert place.check(EU) == 11


def test_a_lease_given_up_is_taken_at_once(tmp_path):
    _, stale, fresh = two_integrators(tmp_path)
    stale.release()
    fresh.step(NOW_MS + 1)


def test_a_stale_integrator_changes_nothing(tmp_path):
    place, stale, fresh = two_integrators(tmp_path)
    fresh.step(NOW_MS + 60_000)
    place.source.add(300)
    before = place.store().logs()
    # It believes that its lease holds: by its own clock no time has passed.
    with pytest.raises(LeaseElsewhere):
        stale.step(NOW_MS + 1)
    assert place.store().logs() == before
    fresh.step(NOW_MS + 61_000)
    place.check_all()


@pytest.mark.parametrize("name", ["assign", "integrated", "add_checkpoint", "remember", "publish"])
def test_an_integrator_overtaken_in_the_middle_of_a_step_forks_nothing(tmp_path, name):
    place = Place(tmp_path)
    place.source.add(300)
    other = place.integrator(holder="b")

    class Overtaken(Faults):
        """Before one write the other integrator runs a whole step, and the log grows."""

        def write(self, wanted, call):
            if wanted == name and not self.hit:
                self.hit = name
                other.step(NOW_MS + 60_000)
                place.source.add(20)
                other.step(NOW_MS + 62_000)
            return call()

    with pytest.raises((LeaseElsewhere, LedgerForked)):
        place.integrator(faulty_desk(place, Overtaken()), holder="a").step(NOW_MS)
    assert place.check(EU) == 320
    place.source.add(1)
    other.step(NOW_MS + 64_000)
    place.check_all()


CHILD = Path(__file__).with_name("integrator_child.py")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["not stored", "stored"])
def test_a_process_killed_at_each_write_loses_nothing(tmp_path, mode):
    """`kill -9` at every crash point of one data folder, one process after the other."""
    place = Place(tmp_path)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = 0
    for at in range(1, 16):
        command = [sys.executable, str(CHILD), str(tmp_path), str(at), mode]
        child = subprocess.run(command, env=env, timeout=60, capture_output=True, check=False)
        assert child.returncode in (0, -signal.SIGKILL), child.stderr.decode()
        killed += child.returncode != 0
    assert killed >= 8
    command = [sys.executable, str(CHILD), str(tmp_path), "0", mode]
    subprocess.run(command, env=env, timeout=60, capture_output=True, check=True)
    note = place.tiles.read(EU, "checkpoint")
    size = read_checkpoint(read_note(note).text).size
    assert size == place.check(EU) == place.store().cursors()["s0"]
