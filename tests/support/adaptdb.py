"""A data folder whose adapt.db was written by the real loop: a rollout, a budget, replicas."""

import random
from collections import deque
from contextlib import closing
from pathlib import Path

import msgspec

from verismo.adapt import budget, canarystate, scaling
from verismo.adapt.budget import BudgetObservation, BudgetSettings, BudgetState, Limits, SpendBin
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import CanaryState
from verismo.adapt.demand import ScalingObservation
from verismo.adapt.scaling import ScalingState
from verismo.adapt.scalingsettings import ScalingSettings
from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.attest.controlrecord import read_record
from verismo.attest.succession import KeyRules
from verismo.control.looks import Look, Steered
from verismo.control.loop import Loop, LoopDesk, LoopSettings
from verismo.control.publish import Publisher, SteeringIdentity
from verismo.control.recorder import Recorder
from verismo.control.rotation import RingHistory
from verismo.control.rules import BUDGET, CANARY, CANARY_ACT, SCALING
from verismo.model import canonical
from verismo.model.act import Act
from verismo.model.decision import Decision, Subject
from verismo.model.steering import Rollout, Throttle
from verismo.model.window import Tally, Window
from verismo.wiring.keys import open_signer, prepare_keys

NOW_MS = 1_790_000_000_000 // 10_000 * 10_000
STEP_MS = 10_000
ISSUER = "https://gate.example"
ROUTE = Subject("", "chat", "old", "new")
OTHER = Subject("T1", "embed", "small", "large")
SPENDER = Subject("T1", "chat")
TARGET = Subject(target="gate/reader")
CANARY_SETTINGS = CanarySettings(
    ladder_ppm=(500_000, 1_000_000), windows_min=3, requests_min=100, alpha_promote_ppm=400_000
)
SCALING_SETTINGS = ScalingSettings("gate/reader", 1, 50, 4, 60_000)
LIMITS = Limits(1_000_000)
FAMILIES = {
    CANARY.name: (CANARY.name, CANARY_ACT.name),
    CANARY_ACT.name: (CANARY.name, CANARY_ACT.name),
    BUDGET.name: (BUDGET.name,),
    SCALING.name: (SCALING.name,),
}
STATES = {CANARY.name: CanaryState, BUDGET.name: BudgetState, SCALING.name: ScalingState}


def window(subject, arm, at_ms, slower=1.0, count=80):
    chance = random.Random(f"{subject.operation} {arm} {at_ms}")
    tally = Tally()
    for _ in range(count):
        tally.add(round(chance.lognormvariate(13, 0.4) * slower))
    costs = [chance.randrange(800, 1_200) for _ in range(count)]
    return Window(
        tenant=subject.tenant,
        operation=subject.operation,
        arm=arm,
        deployment=subject.baseline if arm == "baseline" else subject.candidate,
        start_ms=at_ms - STEP_MS,
        end_ms=at_ms,
        requests=count,
        errors=0,
        cost_usd_micros=sum(costs),
        cost_squares=sum(one * one for one in costs),
        latency=tally.histogram(),
    )


def act_of(verb, at_ms, subject=ROUTE, of="a" * 64):
    return Act(
        controller="canary",
        verb=verb,
        subject=subject,
        actor="ada",
        key="k1",
        role="admin",
        reason="because the release is due",
        of=of,
        at_ms=at_ms,
        expires_ms=0 if verb in ("start", "stop") else at_ms + 3_600_000,
    )


class Scripted:
    """A shell that shows what it is told to show, and steers by what is recorded."""

    def __init__(self, decisions):
        self._decisions = decisions
        self.due = deque()

    def looks(self, now_ms):
        found = [make(now_ms) for make in self.due]
        self.due.clear()
        return found

    def take(self, act, now_ms):
        before = self.state(CANARY, act.subject) or canarystate.unbegun(act.subject)
        return Look(CANARY_ACT, act.subject, before, act, CANARY_SETTINGS)

    def steered(self, now_ms):
        rollouts, throttles = [], []
        for subject in (ROUTE, OTHER):
            state = self.state(CANARY, subject)
            if state is not None and state.ended in ("", "promoted"):
                names = (subject.operation, subject.tenant, subject.baseline, subject.candidate)
                rollouts.append(Rollout(*names, state.weight_ppm))
        state = self.state(BUDGET, SPENDER)
        rate = None if state is None else budget.bucket_rate_usd_micros(state, LIMITS, now_ms)
        if rate is not None:
            throttles.append(Throttle(SPENDER.tenant, SPENDER.operation, rate, now_ms + 60_000))
        return Steered(tuple(rollouts), tuple(throttles))

    def told(self, decision):
        pass

    def newest(self, rule, subject):
        """Return the digest and the bytes of the newest decision about a subject."""
        text = canonical.encode(subject).decode()
        row = self._decisions.newest(FAMILIES[rule.name], text)
        if row is None:
            return "", b""
        digest = read_record(row.statement).decision
        return digest, self._decisions.blob(digest)

    def state(self, rule, subject):
        data = self.newest(rule, subject)[1]
        if not data:
            return None
        return msgspec.json.decode(data, type=Decision[STATES[rule.name]]).state

    def show_canary(self, subject, slower=1.0):
        def look(now_ms):
            seen = CanaryObservation(
                window(subject, "baseline", now_ms), window(subject, "candidate", now_ms, slower)
            )
            return Look(CANARY, subject, self.state(CANARY, subject), seen, CANARY_SETTINGS)

        self.due.append(look)

    def show_budget(self, usd_micros):
        def look(now_ms):
            bins = tuple(
                SpendBin(now_ms - at * STEP_MS, usd_micros if at < 7 else 1_000)
                for at in range(1, 61)
            )
            state = self.state(BUDGET, SPENDER) or BudgetState()
            seen = BudgetObservation(SPENDER, bins, LIMITS)
            return Look(BUDGET, SPENDER, state, seen, BudgetSettings())

        self.due.append(look)

    def show_scaling(self):
        def look(now_ms):
            state = self.state(SCALING, TARGET) or scaling.start(SCALING_SETTINGS)
            seen = ScalingObservation(now_ms - STEP_MS, now_ms, 9_000, 0, 30, 0, 3)
            return Look(SCALING, TARGET, state, seen, SCALING_SETTINGS)

        self.due.append(look)


class AdaptFolder:
    """A data folder with a key ring and the real loop over its adapt.db; close it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.now_ms = NOW_MS
        prepare_keys(data, KeyRules(), NOW_MS - 1_000)
        signer = open_signer(data, "plan", KeyRules(), NOW_MS - 1_000)
        history = RingHistory(KeyRingFiles(data))
        self.file = AdaptFile(data / FILE_NAME)
        self.decisions = SqliteDecisions(self.file)
        self.steering = SqliteSteering(self.file)
        self.shell = Scripted(self.decisions)

        def keys():
            return history.read()[-1].ring.keys

        self.recorder = Recorder(self.decisions, signer, keys, ISSUER)
        self.publisher = Publisher(self.steering, signer, keys, SteeringIdentity(ISSUER, "c" * 64))
        desk = LoopDesk(self.file, self.recorder, self.publisher, {"canary": self.shell})
        self.loop = Loop(desk, LoopSettings("test", lease_ms=3_600_000))

    def close(self) -> None:
        self.file.close()

    def step(self):
        """Run one round, ten seconds later."""
        self.now_ms += STEP_MS
        return self.loop.round(self.now_ms)

    def act(self, verb, subject=ROUTE):
        """Do what a person says, about the newest decision."""
        self.now_ms += STEP_MS
        of = "" if verb == "start" else self.shell.newest(CANARY, subject)[0]
        return self.loop.take(act_of(verb, self.now_ms, subject, of), self.now_ms)


def written(data: Path) -> int:
    """Write about thirty records of every kind into a new folder; returns how many there are."""
    with closing(AdaptFolder(data)) as folder:
        shell = folder.shell
        folder.act("start")
        folder.act("start", OTHER)
        for _ in range(5):
            shell.show_canary(ROUTE)
            folder.step()
        for usd_micros in (1_000, 400_000, 400_000):
            shell.show_budget(usd_micros)
            shell.show_scaling()
            folder.step()
        folder.act("promote")
        folder.act("hold", OTHER)
        for _ in range(2):
            shell.show_canary(OTHER, slower=4.0)
            folder.step()
        folder.act("rollback")
        shell.show_scaling()
        folder.step()
        return folder.decisions.last()
