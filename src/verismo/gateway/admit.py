"""Step 5, admit: request and token rates, then money set aside for the call."""

from verismo.gateway.journey import Journey
from verismo.gateway.ratelimit import RateLimiter, take_request
from verismo.model.errors import BudgetExhausted, RouteThrottled
from verismo.model.ids import OperationId
from verismo.model.operation import Deployment
from verismo.model.traffic import Usage
from verismo.model.units import UsdMicros
from verismo.ports.budget import Budget, Claim
from verismo.ports.meter import SpendMeter
from verismo.ports.prices import Prices

CHARS_PER_TOKEN = 4
"""Rule of thumb for English text; only for the estimate that is reserved, never for a cost."""
OUTPUT_TOKENS_ASSUMED = 1_024
"""Reserved where the client sets no limit; the settlement replaces it by the real count."""
OUTPUT_TOKENS_MAX = 1_000_000
CHOICES_MAX = 128
"""OpenAI answers no more choices to one request."""
_MINUTE_S = 60
_DAY_S = 86_400


class Admission:
    """Rates and budgets of one worker.

    Args:
        limiter: the rate limits.
        budget: the money.
        prices: for the estimate.
        meter: counts what routes offer to spend; None where no controller looks at it.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        budget: Budget,
        prices: Prices,
        meter: SpendMeter | None = None,
    ) -> None:
        self._limiter = limiter
        self._budget = budget
        self._prices = prices
        self._meter = meter

    def check_rate(self, journey: Journey, terms: list[tuple[bytes, bytes]]) -> None:
        """Take one request from the caller's rates.

        Args:
            journey: the request.
            terms: gets the RateLimit headers, of a refusal too.

        Raises:
            RateLimited: the tenant or the key is over its rate.
        """
        meters = self._limiter.meters(journey.caller, journey.received_ms)
        if not meters:
            return
        now_ms = journey.received_ms
        try:
            for meter in meters:
                meter.check_tokens(now_ms)
            take_request(meters, now_ms)
        finally:
            for meter in meters:
                terms += meter.headers(now_ms)

    def reserve(
        self,
        journey: Journey,
        deployments: tuple[Deployment, ...],
        terms: list[tuple[bytes, bytes]],
    ) -> None:
        """Set aside what the dearest allowed deployment may cost.

        Args:
            journey: the request; its operation is known.
            deployments: what the policy allows.
            terms: gets the headers that say how the budget stands where it is short.

        Raises:
            RouteThrottled: the route is throttled, and its token bucket does not hold it.
            BudgetExhausted: the tenant's budget does not hold it.
        """
        began = journey.now_ms()
        estimate, usage = 0, _estimated(journey)
        providers = journey.snapshot.plan.providers
        for one in deployments:
            cost = self._prices.cost(providers[one.provider], one, usage)
            if cost is not None and cost > estimate:
                estimate = cost
        tenant, operation = journey.caller.view.tenant, OperationId(journey.operation)
        if self._meter is not None:
            self._meter.offered(tenant.id, operation, UsdMicros(estimate))
        throttle = journey.snapshot.throttles.get((tenant.id, operation))
        if throttle is not None:
            terms.append((b"x-budget-state", b"throttled"))
        claim = Claim(journey.prov_id, tenant.id, operation, UsdMicros(estimate), throttle)
        try:
            journey.reservation = self._budget.reserve(claim, began)
        except RouteThrottled as error:
            rate = 0 if throttle is None else throttle.usd_micros_per_minute
            terms += _quota("route", rate, _MINUTE_S, error.retry_after_s)
            raise
        except BudgetExhausted as error:
            terms.append((b"x-budget-state", b"exhausted"))
            limit = tenant.budget_usd_micros_per_day
            terms += _quota("budget", limit, _DAY_S, error.retry_after_s)
            raise
        journey.hop("budget", {"reserved_usd_micros": estimate}, began)

    def settle(self, journey: Journey) -> None:
        """Replace the reservation by the cost and take the tokens from the rates; idempotent.

        Where a provider worked but told no usage, because it never does or because the client
        left before the end, the budget is charged what was reserved and the rates what was
        estimated: else a client could read everything and leave just before the count.
        """
        reservation, journey.reservation = journey.reservation, None
        if reservation is None:
            return
        usage = journey.usage
        if usage is None and journey.is_owed:
            usage = _estimated(journey)
            cost = reservation.amount
        else:
            cost = journey.cost or UsdMicros(0)
        self._budget.settle(reservation, cost)
        if usage is None:
            return
        for meter in self._limiter.meters(journey.caller, journey.received_ms):
            if meter.tokens is not None:
                tokens = usage.input_tokens + usage.output_tokens
                meter.tokens.charge(tokens, journey.now_ms())


def _quota(name: str, quota: int, window_s: int, wait_s: int | None) -> list[tuple[bytes, bytes]]:
    """Return the RateLimit header fields of a quota of money that has nothing left.

    Source: draft-ietf-httpapi-ratelimit-headers; the unit `usd-micros` is our own.
    """
    policy = f'"{name}";q={quota};w={window_s};qu="usd-micros"'
    return [
        (b"ratelimit-policy", policy.encode()),
        (b"ratelimit", f'"{name}";r=0;t={wait_s or window_s}'.encode()),
    ]


def _estimated(journey: Journey) -> Usage:
    """Return the tokens that a call may take, by the length of its body and its own limit."""
    return Usage(
        input_tokens=len(journey.request.body) // CHARS_PER_TOKEN + 1,
        output_tokens=_output_limit(journey),
    )


def _output_limit(journey: Journey) -> int:
    """The client's own limit on output tokens, or what is assumed for it, over all choices.

    Providers differ in which of two limits counts, so the larger one is taken: nobody sets aside
    less by naming a small one beside it.
    """
    ask = journey.ask
    if ask is None or ask.kind != "chat":
        return 0
    members = ask.body.members
    named = [_count(members.get(name)) for name in ("max_completion_tokens", "max_tokens")]
    limit = max(named) or OUTPUT_TOKENS_ASSUMED
    choices = min(max(_count(members.get("n")), 1), CHOICES_MAX)
    return min(limit * choices, OUTPUT_TOKENS_MAX)


def _count(value: object) -> int:
    """Return a number that a client sent, 0 if it is none or negative; 5e3 is one, too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, OUTPUT_TOKENS_MAX))
