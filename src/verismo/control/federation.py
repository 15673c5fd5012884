"""Reads an arm of a comparison out of a Prometheus server, by its page `/federate`.

The page has the newest sample of each series that a selector takes, with the time at which it was
scraped, and keeps it for minutes after its target is gone. So a sample is believed only while it is
fresh, and a target only while the server itself says by `up` that it is. Whatever an arm's targets
count adds up; that a target came or went spoils a window as a counter reset does.

The clocks of the server and of this process have to agree: only so is an age known.

Source: Prometheus, "Federation", "Exposition formats", "Jobs and instances", "Querying basics".
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from verismo.control.metricstext import Labels, Sample, parse_samples
from verismo.control.scrapes import Meters, Reading, SourceLies, names_of, reading_of

UP: Final = "up"
"""What the server makes for each of its targets: 1 where the last scrape came through."""
AHEAD_MS_MAX: Final = 1_000
"""How far the server's clock may be ahead; what is further hides how old a sample is."""
SELECTOR_CHARS_MAX: Final = 1_000
_matcher = re.compile(
    r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\\x00-\x1f]|\\[\\"])*)"\s*(,|$)'
).match
_address = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?").fullmatch


class ArmRefused(ValueError):
    """What was asked of a Prometheus server is no address or no selector; says why."""


class Federated(msgspec.Struct, frozen=True):
    """How pages of a Prometheus server are taken.

    Args:
        stale_ms: how old a sample may be, at least 1.
        note: where they come from, for whoever reads the decisions.
    """

    stale_ms: int
    note: str


def parse_arm(text: str) -> str:
    """Check which targets are meant by an arm.

    Args:
        text: matchers of labels as in PromQL, in braces or without, such as `job="blue"`.

    Returns:
        The matchers without braces.

    Raises:
        ArmRefused: it is no such selector, or one that takes every target.
    """
    matchers = text.strip()
    if matchers.startswith("{") and matchers.endswith("}"):
        matchers = matchers[1:-1].strip()
    matchers = matchers.removesuffix(",")
    if len(matchers) > SELECTOR_CHARS_MAX:
        raise ArmRefused(f"a selector has at most {SELECTOR_CHARS_MAX} characters")
    at, is_bound = 0, False
    while at < len(matchers):
        found = _matcher(matchers, at)
        if found is None or (found[4] and found.end() == len(matchers)):
            raise ArmRefused(
                f"{matchers[at:]!r} is no matcher of a label; write "
                'LABEL="VALUE", with =, !=, =~ or !~, double quotes, and each backslash twice'
            )
        if found[1] == "__name__":
            raise ArmRefused("a selector of targets has no name; leave __name__ out")
        is_bound = is_bound or _is_bound(found[2], found[3])
        at = found.end()
    if not is_bound:
        raise ArmRefused('it takes every target; name a label and its value, such as job="blue"')
    return matchers


def federate_url(server: str, arm: str, meters: Meters) -> str:
    """Return the address of an arm's page.

    Args:
        server: address of the Prometheus server, a path before its own included.
        arm: from `parse_arm`.
        meters: which metrics are asked for; no others are sent.

    Raises:
        ArmRefused: the address is none, or holds credentials.
    """
    if _address(server) is None or not urlsplit(server).hostname:
        raise ArmRefused(
            f"{server.rpartition('@')[2]!r} is no http or https URL of a server; it holds no query "
            "and no credentials (a key comes by --key-file)"
        )
    names = "|".join(sorted({UP, *names_of(meters)}))
    query = urlencode({"match[]": f'{{__name__=~"{names}",{arm}}}'})
    return f"{server.rstrip('/')}/federate?{query}"


def read_federated(text: bytes, meters: Meters, federated: Federated, now_ms: int) -> Reading:
    """Read what a Prometheus server has of one arm.

    Args:
        text: the page.
        meters: which metrics are read.
        federated: how it is taken.
        now_ms: Unix ms, once the page was there.

    Raises:
        TextRefused: it is no metrics.
        SourceLies: no target is up, one is scraped by several jobs, a sample is stale, ahead of the
            clock or without a time, a histogram is of several times, or as `read_metrics`.
    """
    samples = parse_samples(text, names_of(meters) | {UP})
    targets = _targets([one for one in samples if one.name == UP])
    for one in samples:
        _check_age(one, federated.stale_ms, now_ms)
    _check_whole(samples, meters)
    reading = reading_of(samples, meters)
    stamps = {(one.name, one.labels): one.stamp for one in samples if one.stamp is not None}
    return msgspec.structs.replace(reading, targets=targets, stamps_ms=stamps)


def _targets(samples: Sequence[Sample]) -> frozenset[Labels]:
    odd = [one.value for one in samples if one.value not in (0, 1)]
    if odd:
        raise SourceLies(f"{UP} is {odd[0]}, which is neither 0 nor 1")
    found = frozenset(one.labels for one in samples if one.value == 1)
    if not found:
        raise SourceLies("no_target: none that the selector takes is up")
    instances = Counter(dict(one).get("instance", "") for one in found)
    instance, times = instances.most_common(1)[0]
    if times > 1:
        raise SourceLies(
            f"target_twice: {instance!r} is scraped {times} times; name the job in the selector"
        )
    return found


def _check_age(sample: Sample, stale_ms: int, now_ms: int) -> None:
    if sample.stamp is None:
        raise SourceLies(f"{sample.name} has no time: it is no page of a Prometheus server")
    age_ms = now_ms - sample.stamp
    if age_ms < -AHEAD_MS_MAX:
        raise SourceLies(f"clock_ahead: {sample.name} is {-age_ms / 1_000:.1f} s from the future")
    if age_ms > stale_ms:
        raise SourceLies(
            f"stale: {sample.name} is {age_ms / 1_000:.1f} s old, more than {stale_ms / 1_000:g} s"
        )


def _check_whole(samples: Sequence[Sample], meters: Meters) -> None:
    """Refuse a histogram of which some buckets are of another scrape."""
    names = {f"{meters.latency.name}_bucket", f"{meters.latency.name}_count"}
    stamps: dict[Labels, float | None] = {}
    for one in samples:
        if one.name in names:
            key = tuple(label for label in one.labels if label[0] != "le")
            if stamps.setdefault(key, one.stamp) != one.stamp:
                raise SourceLies("torn: the buckets of a histogram are not of one scrape")


def _is_bound(operator: str, value: str) -> bool:
    """Say whether a matcher asks for a label that is there; refuse an expression that is none."""
    if operator in ("=", "!="):
        return operator == "=" and bool(value)
    plain = re.sub(r'\\([\\"])', r"\1", value)
    try:
        takes_empty = re.fullmatch(plain, "") is not None
    except re.error as error:
        raise ArmRefused(f"{value!r} is no regular expression: {error}") from error
    return operator == "=~" and not takes_empty
