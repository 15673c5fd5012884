"""How fast answers are verified: the public verification API, and the verifier offline.

The API is asked 500 times a second whatever it answers (open loop), and each time counts from the
moment when its request was due: an API that falls behind cannot hide it. Offline, when the gateway
has ended, one core verifies saved exchanges with the same code as `verismo verify`; in turn with it
the same signatures alone, so that what the rest costs can be told from what Ed25519 costs.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from harness import results
from harness.attested import SMALL_OPERATION
from harness.gateways import site, starter
from harness.machine import describe, pin_self_to_load, versions
from harness.openloop import OpenLoop, paced_row
from harness.table import Value
from harness.verifying import VALID, VERIFY_PATH, request_of
from verismo.attest import jws
from verismo.attest.exchange import Exchange, expectation, fold, verify_exchange
from verismo.attest.headers import read_proof_headers
from verismo.attest.keys import read_jwks
from verismo.attest.verify import Verifier

RATE_PER_S = 500
COLUMNS = {
    "name": "what",
    "requests": "done",
    "requests_per_s": "per second",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "flag": "flag",
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        seconds: of paced requests.
        exchanges: distinct answers that are verified in turn.
        offline_rounds: how often each is verified offline.
    """

    seconds: int
    exchanges: int
    offline_rounds: int


FULL = Sizes(seconds=30, exchanges=200, offline_rounds=200)
QUICK = Sizes(seconds=5, exchanges=40, offline_rounds=100)
BRIEF = Sizes(seconds=1, exchanges=5, offline_rounds=10)


def main() -> None:
    asked = results.options(__doc__ or "").parse_args()
    sizes = results.sized(asked, full=FULL, quick=QUICK, brief=BRIEF)
    with results.run_folder() as folder, ExitStack() as stack:
        place = stack.enter_context(site(folder))
        machine = describe(place.chosen)
        gateway = stack.enter_context(starter("verismo", place))
        assert gateway.attested is not None
        exchanges = [gateway.attested.exchange(SMALL_OPERATION) for _ in range(sizes.exchanges)]
        pin_self_to_load()
        loop = OpenLoop(gateway.port, VERIFY_PATH, RATE_PER_S, VALID)
        bodies = [request_of(exchange) for exchange in exchanges]
        asyncio.run(loop.run(bodies, 1))
        paced = asyncio.run(loop.run(bodies, sizes.seconds))
    rows = [paced_row("api", paced), *_offline_rows(exchanges, sizes.offline_rounds)]
    facts = {"rate_per_s": RATE_PER_S, "machine": machine, "versions": versions()}
    results.publish(asked, COLUMNS, rows, facts)


def _offline_rows(exchanges: Sequence[Exchange], rounds: int) -> list[dict[str, Value]]:
    """Verify every exchange several times over in this process, which has one core.

    The rows take turns, round by round: neighbours on the machine disturb all of them alike.
    """
    without = [msgspec.structs.replace(exchange, graph=None) for exchange in exchanges]
    passes = {
        "ed25519-only": _signatures_alone(exchanges),
        "offline": _verification(without),
        "offline-with-graph": _verification(exchanges),
    }
    took_s, failed = dict.fromkeys(passes, 0.0), dict.fromkeys(passes, 0)
    for _ in range(rounds):
        for name, verify_all in passes.items():
            begun_s = time.perf_counter()
            failed[name] += verify_all()
            took_s[name] += time.perf_counter() - begun_s
    done = rounds * len(exchanges)
    return [_offline_row(name, done, failed[name], took_s[name]) for name in passes]


def _verification(exchanges: Sequence[Exchange]) -> Callable[[], int]:
    """Return what verifies every exchange once and says how many did not verify."""
    verifier = Verifier(read_jwks(bytes(exchanges[0].jwks)))
    cases = [(exchange, expectation(exchange)) for exchange in exchanges]

    def verify_all() -> int:
        return sum(
            verify_exchange(verifier, exchange, known).verdict != "VERIFIED"
            for exchange, known in cases
        )

    return verify_all


def _signatures_alone(exchanges: Sequence[Exchange]) -> Callable[[], int]:
    """Return what makes check 4 alone for every exchange, with nothing around it.

    A signature that is not valid raises, and nothing is measured.
    """
    keys = read_jwks(bytes(exchanges[0].jwks))
    cases = []
    for exchange in exchanges:
        proof = read_proof_headers(fold(exchange.response.headers))
        assert proof is not None
        parsed = jws.parse(proof.jws)
        loaded = Ed25519PublicKey.from_public_bytes(keys[parsed.header.kid].raw)
        signed = jws.signing_input(parsed.protected, proof.statement)
        cases.append((loaded, parsed.signature, signed))

    def verify_all() -> int:
        for loaded, signature, signed in cases:
            loaded.verify(signature, signed)
        return 0

    return verify_all


def _offline_row(name: str, done: int, failed: int, took_s: float) -> dict[str, Value]:
    row: dict[str, Value] = {"name": name, "requests": done}
    if failed:
        return row | {"requests_per_s": None, "flag": f"{failed} did not verify"}
    return row | {"requests_per_s": results.rounded(done / took_s)}


if __name__ == "__main__":
    main()
