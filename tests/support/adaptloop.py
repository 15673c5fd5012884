"""A loop of controllers on a real adapt.db, with a controller whose every move a test sets."""

from collections.abc import Sequence

import msgspec
from tests.support.keyring import RULES, START_MS, MemoryStore

from verismo.adapters.adapt_file import AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.attest.controlrecord import read_record
from verismo.attest.keys import import_key
from verismo.control.looks import Look, Rule, Steered
from verismo.control.loop import Loop, LoopDesk, LoopSettings
from verismo.control.publish import Publisher, SteeringIdentity
from verismo.control.recorder import Recorder
from verismo.control.rotation import Rotation
from verismo.model.act import Act
from verismo.model.decision import Action, Decision, Subject, decode_decision, digest_of
from verismo.model.errors import DecisionStale, NotFound
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.steering import Rollout
from verismo.model.units import Milliseconds, Ppm

ISSUER = "verismo"
BASE = "b" * 64
NOW_MS = START_MS + 3_600_000


class Weight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """State of the test's rule: the weight that was set last."""

    weight_ppm: int = 0


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Observation of the test's rule: the weight that somebody wishes for."""

    weight_ppm: int


class Most(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the test's rule: the highest weight there may be."""

    weight_ppm: int = 1_000_000


def decide(state: Weight, wish: Wish | Act, most: Most, now_ms: int) -> Decision[Weight]:
    """Grant what is wished for, up to the most there may be."""
    wished = wish.values["weight_ppm"] if isinstance(wish, Act) else wish.weight_ppm
    granted = min(wished, most.weight_ppm)
    return Decision(
        controller="canary",
        version=1,
        subject=SUBJECT,
        verdict="PROMOTE" if granted > state.weight_ppm else "CONTINUE",
        action=Action("weight_ppm", state.weight_ppm, granted),
        reasons=("wished",),
        inputs=digest_of(wish),
        settings=digest_of(most),
        at_ms=Milliseconds(now_ms),
        metrics=(),
        state=Weight(granted),
    )


SUBJECT = Subject(operation="chat", baseline="old", candidate="new")
RULE = Rule("canary", 1, Weight, Wish, Most, decide)
ACT_RULE = Rule("canary-act", 1, Weight, Act, Most, decide)
RULE_NAMES = ("canary", "canary-act")


class WeightShell:
    """A shell that looks where a test has put a wish, and steers by what was recorded."""

    def __init__(self, decisions: SqliteDecisions) -> None:
        self._decisions = decisions
        self.wishes: list[int] = []
        self.poison: list[float] = []
        self.seen: list[Decision] = []
        self.failure: Exception | None = None

    def looks(self, now_ms: int) -> Sequence[Look]:
        if self.failure is not None:
            raise self.failure
        wishes, self.poison = [*self.poison, *self.wishes[:1]], []
        del self.wishes[:1]
        return [Look(RULE, SUBJECT, self._newest()[1], Wish(wish), Most()) for wish in wishes]

    def take(self, act: Act, now_ms: int) -> Look:
        if act.subject != SUBJECT:
            raise NotFound("no such rollout")
        digest, state = self._newest()
        if act.of != digest:
            raise DecisionStale("there is a newer one")
        return Look(ACT_RULE, SUBJECT, state, act, Most())

    def steered(self, now_ms: int) -> Steered:
        digest, state = self._newest()
        if not digest:
            return Steered()
        return Steered(
            (
                Rollout(
                    OperationId("chat"),
                    TenantId(""),
                    DeploymentId("old"),
                    DeploymentId("new"),
                    Ppm(state.weight_ppm),
                ),
            )
        )

    def told(self, decision: Decision) -> None:
        self.seen.append(decision)

    def _newest(self) -> tuple[str, Weight]:
        subject = msgspec.json.encode(SUBJECT, order="sorted").decode()
        row = self._decisions.newest(RULE_NAMES, subject)
        if row is None:
            return "", Weight()
        digest = read_record(row.statement).decision
        kept = self._decisions.blob(digest)
        return digest, decode_decision(kept, Decision[Weight]).state


class ActingShell(WeightShell):
    """The same on a platform of its own."""

    result = "done"

    def act(self, decision: Decision) -> str:
        return self.result


class AdaptSite:
    """One data folder, and as many control processes on it as a test opens."""

    def __init__(self, path, shell=WeightShell) -> None:
        self.path = path
        self._shell = shell
        self.ring = MemoryStore("adapt")
        rotation = Rotation(self.ring, RULES)
        rotation.begin(import_key(self.ring.make_key("token"), "token"), START_MS, START_MS)
        rotation.ensure("plan", START_MS)
        self.rotation = rotation
        self._open: list[AdaptFile] = []

    @property
    def keys(self):
        return self.rotation.newest().ring.keys

    @property
    def plan_kid(self) -> str:
        return [one.kid for one in self.keys if one.role == "plan"][-1]

    def file(self) -> AdaptFile:
        self._open.append(AdaptFile(self.path))
        return self._open[-1]

    def process(self, name: str, *, wrap=lambda store: store, base: str = BASE):
        """Return a loop and its shell, as a control process of that name would run them."""
        file = self.file()
        decisions, steering = wrap(SqliteDecisions(file)), wrap(SqliteSteering(file))
        signer = self.ring.signer(self.plan_kid, "plan")
        shell = self._shell(SqliteDecisions(file))
        desk = LoopDesk(
            lease=file,
            recorder=Recorder(decisions, signer, lambda: self.keys, ISSUER),
            publisher=Publisher(
                steering, signer, lambda: self.keys, SteeringIdentity(ISSUER, base)
            ),
            shells={"canary": shell},
        )
        return Loop(desk, LoopSettings(name)), shell

    @property
    def decisions(self) -> SqliteDecisions:
        return SqliteDecisions(self.file())

    @property
    def steering(self) -> SqliteSteering:
        return SqliteSteering(self.file())

    def records(self):
        return [read_record(row.statement) for row in self.decisions.rows(0, 1_000)]

    def close(self) -> None:
        for one in self._open:
            one.close()


def act(of: str, weight_ppm: int = 500_000, **fields) -> Act:
    """Return a person's act on the test's rollout."""
    given = {
        "controller": "canary",
        "verb": "promote",
        "subject": SUBJECT,
        "actor": "ops",
        "key": "k1",
        "role": "admin",
        "reason": "the release is tested",
        "of": of,
        "at_ms": NOW_MS,
        "values": {"weight_ppm": weight_ppm},
    }
    return Act(**{**given, **fields})
