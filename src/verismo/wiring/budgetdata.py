"""What a budget simulation replays: the tenant's own records, a trace, or made-up spend."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from verismo.adapt.budget import BIN_MS
from verismo.adapt.budgetlimit import HOUR_MS
from verismo.adapt.budgetreplay import HOUR_BINS, Replayed
from verismo.adapt.budgetreport import DataSource
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.config.schema import Config
from verismo.model.errors import OperatorError
from verismo.model.ids import OperationId, TenantId
from verismo.simulate.spending import made_up_spend
from verismo.wiring.shells import budget_terms

HOURS_MIN: Final = 2
"""An hour of history and one under test: less cannot be replayed."""
HOURS_MAX: Final = 28 * 24
"""Four weeks; older spend is left out."""
DAYS_MADE_UP: Final = 14
SEED: Final = 1
ROUTES_MADE_UP: Final = 3
START_MADE_UP_MS: Final = 1_788_739_200_000
"""A Monday, 2026-09-07, 00:00 UTC."""
ROWS_AT_ONCE: Final = 10_000
COLUMNS: Final = ("start_ms", "operation", "offered_usd_micros")

Spend = Mapping[OperationId, Mapping[int, int]]
"""USD micros by operation and start of a bin."""


class SimulationData(msgspec.Struct, frozen=True):
    """What is replayed: its source, and each route by operation."""

    source: DataSource
    routes: tuple[tuple[OperationId, Replayed], ...]


class _Stated(msgspec.Struct, frozen=True):
    op: str


def simulation_data(config: Config, tenant: TenantId, trace: Path | None) -> SimulationData:
    """Return what the simulation of a tenant's budget replays (decisions 29).

    Args:
        config: the validated configuration.
        tenant: whose budget.
        trace: a CSV with the columns of `COLUMNS`; None takes the tenant's own records, and where
            they are shorter than two hours spend that is made up.

    Raises:
        OperatorError: there is no such tenant, it has no budget, or the trace cannot be read.
        StateError: the journals cannot be read.
    """
    found = config.plan.tenants.get(tenant)
    if found is None:
        raise OperatorError(
            f"there is no tenant {tenant!r}", next_step="`verismo tenant list` shows them."
        )
    if not found.budget_usd_micros_per_day:
        raise OperatorError(
            f"the tenant {tenant} has no budget, so nothing may be spent",
            next_step=f"Set `budget_usd_per_day` of [tenants.{tenant}].",
        )
    if trace is not None:
        made = _laid_out(config, tenant, _traced(trace))
        if made is None:
            raise OperatorError(
                f"{trace} holds less than {HOURS_MIN} whole hours of spend of known operations",
                next_step="`verismo operation list` shows the operations.",
            )
        return _named(made, "trace", f"the file {trace.name}")
    made = _laid_out(config, tenant, _recorded(config, tenant))
    if made is not None:
        detail = "costs of the tenant's answers in the journals, by the time that each was sealed"
        return _named(made, "recorded", detail)
    return _named(_made_up(config, tenant, found.budget_usd_micros_per_day), "generated", _MADE_UP)


_MADE_UP: Final = (
    f"made up by verismo.simulate.spending with seed {SEED}: the tenant has no two whole hours of "
    "recorded spend, and no trace was named"
)


def _named(routes: list[tuple[OperationId, Replayed]], kind: str, detail: str) -> SimulationData:
    first = routes[0][1]
    source = DataSource(
        kind="recorded" if kind == "recorded" else "trace" if kind == "trace" else "generated",
        detail=detail,
        start_ms=first.start_ms,
        end_ms=first.start_ms + len(first.offered) * BIN_MS,
        test_start_ms=first.start_ms + first.history_bins * BIN_MS,
    )
    return SimulationData(source, tuple(routes))


def _recorded(config: Config, tenant: TenantId) -> Spend:
    reader = SqliteJournalReader(config.data)
    decoder = msgspec.json.Decoder(_Stated)
    found: dict[OperationId, dict[int, int]] = {}
    try:
        for slot in reader.slots():
            after = 0
            while rows := reader.scan_uncaptured(slot, after, ROWS_AT_ONCE):
                after = rows[-1].seq_n
                for one in rows:
                    if one.tenant == tenant and one.kind == "answer" and one.cost_usd_micros > 0:
                        bins = found.setdefault(OperationId(decoder.decode(one.statement).op), {})
                        at_ms = one.written_ms // BIN_MS * BIN_MS
                        bins[at_ms] = bins.get(at_ms, 0) + one.cost_usd_micros
    finally:
        reader.close()
    return found


def _traced(path: Path) -> Spend:
    found: dict[OperationId, dict[int, int]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise ValueError(f"its first line is not {','.join(COLUMNS)}")
            for row in rows:
                at_ms, amount = int(row["start_ms"]), int(row["offered_usd_micros"])
                if at_ms < 0 or not 0 <= amount < 2**53:
                    raise ValueError(f"line {rows.line_num}: a number that is no time or amount")
                bins = found.setdefault(OperationId(row["operation"]), {})
                start_ms = at_ms // BIN_MS * BIN_MS
                bins[start_ms] = bins.get(start_ms, 0) + amount
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise OperatorError(
            f"the trace {path} cannot be read: {error}",
            next_step=f"Write a CSV with the header {','.join(COLUMNS)} and whole numbers.",
        ) from error
    return found


def _laid_out(
    config: Config, tenant: TenantId, spend: Spend
) -> list[tuple[OperationId, Replayed]] | None:
    """Return the routes over the same whole hours, half of them history; None for too few."""
    terms = budget_terms(config)
    known = {one: bins for one, bins in spend.items() if terms.cap((tenant, one)) and bins}
    if not known:
        return None
    first_ms = -(-min(min(bins) for bins in known.values()) // HOUR_MS) * HOUR_MS
    last_ms = (max(max(bins) for bins in known.values()) + BIN_MS) // HOUR_MS * HOUR_MS
    first_ms = max(first_ms, last_ms - HOURS_MAX * HOUR_MS)
    hours = (last_ms - first_ms) // HOUR_MS
    if hours < HOURS_MIN:
        return None
    return [
        (
            operation,
            Replayed(
                start_ms=first_ms,
                offered=tuple(bins.get(at, 0) for at in range(first_ms, last_ms, BIN_MS)),
                history_bins=hours // 2 * HOUR_BINS,
                cap_usd_micros=terms.cap((tenant, operation)),
            ),
        )
        for operation, bins in sorted(known.items())
    ]


def _made_up(
    config: Config, tenant: TenantId, day_usd_micros: int
) -> list[tuple[OperationId, Replayed]]:
    """Return a fortnight of spend that comes to about half of the budget, on up to three routes."""
    terms = budget_terms(config)
    mine = sorted(
        one.id
        for one in config.plan.operations.values()
        if not one.tenants or tenant in one.tenants
    )[:ROUTES_MADE_UP]
    if not mine:
        raise OperatorError(
            f"the tenant {tenant} may run no operation, so it has no route",
            next_step="Register one: operations/*.toml.",
        )
    share = day_usd_micros // 2 // len(mine)
    return [
        (
            operation,
            Replayed(
                start_ms=START_MADE_UP_MS,
                offered=made_up_spend(SEED, f"{tenant} {operation}", DAYS_MADE_UP, share),
                history_bins=DAYS_MADE_UP // 2 * 24 * HOUR_BINS,
                cap_usd_micros=terms.cap((tenant, operation)),
            ),
        )
        for operation in mine
    ]
