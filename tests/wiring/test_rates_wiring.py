"""Limiters of workers of one data folder: shared by kind of request where there are several."""

import msgspec
import pytest

from verismo.config.install import install, prepare
from verismo.config.load import load_config
from verismo.config.scaffold import recipe_for
from verismo.config.schema import Config
from verismo.gateway.ratelimit import RateLimiter, take_request
from verismo.model.errors import RateLimited, StateError
from verismo.model.tenant import RateLimit
from verismo.wiring.rates import Rates

NOW_MS = 1_790_000_000_000
RATE = RateLimit(requests_per_minute=1, tokens_per_minute=100)


@pytest.fixture
def config(tmp_path) -> Config:
    install(prepare(tmp_path, recipe_for("simulator")))
    return load_config(tmp_path / "verismo.toml")


def with_workers(config: Config, workers: int) -> Config:
    return msgspec.structs.replace(
        config, listen=msgspec.structs.replace(config.listen, workers=workers)
    )


def is_taken(limiter: RateLimiter, rate: RateLimit = RATE) -> bool:
    meter = limiter.meter("key", "K", rate, NOW_MS)
    assert meter is not None
    try:
        take_request([meter], NOW_MS)
    except RateLimited:
        return False
    return True


@pytest.fixture
def workers(config):
    """Return the limits of two workers."""
    two = [Rates(with_workers(config, 2)) for _ in range(2)]
    yield two
    for rates in two:
        rates.close()


def test_one_request_a_minute_is_one_at_all_workers(workers):
    assert [is_taken(rates.limiter("calls")) for rates in workers] == [True, False]


def test_kinds_of_requests_are_counted_apart(workers):
    for kind in ("calls", "reads", "spans"):
        assert [is_taken(rates.limiter(kind)) for rates in workers] == [True, False], kind


def test_changed_limit_is_in_force_at_once_at_all_workers(workers):
    assert is_taken(workers[0].limiter("calls"))
    more = RateLimit(requests_per_minute=2)
    assert [is_taken(rates.limiter("calls"), more) for rates in workers * 2] == [
        *(True, True, False, False),
    ]


def test_tokens_of_one_worker_count_at_the_other(workers):
    mine, other = (rates.limiter("calls").meter("tenant", "T", RATE, NOW_MS) for rates in workers)
    mine.tokens.charge(150, NOW_MS)
    with pytest.raises(RateLimited, match="the tenant allows 100 tokens a minute") as caught:
        other.check_tokens(NOW_MS)
    assert caught.value.retry_after_s == 31


def test_only_worker_makes_no_file(config):
    rates = Rates(with_workers(config, 1))
    assert [is_taken(limiter) for limiter in [rates.limiter("calls")] * 2] == [True, False]
    rates.close()
    assert not config.data.exists()


def test_file_that_cannot_be_made_is_told(config):
    config.data.mkdir()
    (config.data / "run").write_text("in the way")
    with pytest.raises(StateError, match="rates"):
        Rates(with_workers(config, 2))
