"""Reasons in words: the one table from the codes in decisions to sentences for people.

A reason is a code of a rule, with what it was about: `gap_open_ms=42000`, `hold_3`,
`cooldown ms=120000`, `window_refused: candidate: it ends before it starts`. Records keep the codes;
lists and cards say them in words. An unknown code is shown as it is: it is never guessed at.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # The canary.
        "bake_doubled": "the next bake takes twice as long",
        "clock_stepped": "the clock was set back and these times with it, or it shows none",
        "configuration_lacks_it": "the configuration does not know it, and nothing is split",
        "cost_severe": "each request of the candidate costs far more",
        "cost_unknown": "more than 1 % of an arm's answers have no known cost: {text}",
        "deployment_changed": "another deployment stands for the {text} now: all begins anew",
        "error_severe": "the candidate fails far more often",
        "evidence_no_worse": "no metric with a weight reaches its harm margin",
        "evidence_open": "the evidence decides nothing yet",
        "evidence_worse": "the evidence says that the candidate is worse than tolerated",
        "finished": "the rollout is over",
        "hold": "HOLD number {value}, and no more are allowed",
        "inconclusive": "the bake is over and the evidence decided nothing: a person is asked",
        "insufficient_data": "there are not enough data",
        "invariant_broken": "the candidate broke a rule of security or attestation: {text}",
        "no_window": "the window of an arm could not be read",
        "number_refused": "a window holds something that is no count: {text}",
        "p95_severe": "the candidate's p95 is far slower",
        "p99_worse": "the candidate's p99 is slower than tolerated",
        "reference_only": "the first window of the baseline is the reference only",
        "rolled_back": "the rollout was rolled back before",
        "sample_ratio_mismatch": "requests are not split as they should be",
        "silence": "an arm has had no requests for too long",
        "traffic_reduced": "the candidate gets less traffic",
        "window_in_the_future": "a window ends in the future",
        "window_of_another_deployment": "a window is of another deployment",
        "window_of_another_route": "a window is of another route",
        "window_refused": "a window cannot be counted: {text}",
        "window_repeated_or_late": "a window was seen before or came too late",
        "window_spans_change": "the window began before the traffic was changed",
        "window_thin": "too few requests; the window is merged with the next",
        "stopped": "the rollout was stopped by a person, or never begun",
        # A comparison from outside.
        "arms_overlap": "the arms overlap: {text}",
        "buckets_differ": "histograms cannot be compared: {text}",
        "candidate_lost_windows": "{value} windows have no data of the candidate, or pages came "
        "late, and are not made up for: find out why it began anew or could not be read",
        "counter_reset": "a counter began anew: {text}",
        "latency_left_the_buckets": "latency left the part of the buckets that can be compared",
        "no_data_of": "there are no data of {text}",
        "series_vanished": "a series vanished: {text}",
        "too_few_requests": "the candidate got {requests} requests and needs {least}",
        "too_few_windows": "{windows} windows could be judged and {least} have to be: a window "
        "with few requests is merged with the next, so make windows longer",
        # Of files that were written before the two were told apart.
        "too_few": "{requests} requests of the candidate in {windows} windows are too few",
        # What people tell controllers.
        "act_of_another_rollout": "it is about another rollout",
        "act_of_the_future": "it was said in the future",
        "act_of_another_route": "it is about another route",
        "bake_extended": "a person lets the bake last longer",
        "decision_unnamed": "it does not name the decision that it overrides",
        "expired": "it is no longer meant to hold",
        "expiry_missing": "it does not say until when it holds",
        "expiry_too_far": "it would hold for longer than is allowed",
        "frozen_by_hand": "a person froze the limit",
        "held_by_hand": "{who} holds the rollout where it is",
        "limit_missing": "it does not say which limit",
        "promoted_by_hand": "a person let the candidate climb",
        "raised_by_hand": "a person set the limit",
        "reason_missing": "its reason is too short or too long",
        "refused": "what a person wanted was refused",
        "resumed_by_hand": "a person ended what was set by hand",
        "role_too_low": "whoever said it has not the role for it",
        "rolled_back_by_hand": "{who} rolled back",
        "rollout_promoted": "the candidate has all traffic already",
        "rollout_rolled_back": "the rollout was rolled back",
        "rollout_running": "the rollout runs already",
        "rollout_stopped": "the rollout does not run",
        "started_by_hand": "a person started the rollout",
        "static_by_hand": "a person went back to the static cap",
        "static_cap_holds": "the static cap of {usd_micros} holds all the same",
        "stopped_by_hand": "a person stopped the rollout",
        "values_unknown": "it holds values that mean nothing here",
        "verb_of_another_controller": "it is for another controller",
        # Throttling.
        "ask_owner": "throttled for long without a clean minute: its owner has to say whether the "
        "spend is meant",
        "bin_already_judged": "there is no newer spend than was judged",
        "bin_malformed_or_of_the_future": "a bin of spend has no right time",
        "bins_contradict": "two numbers for the same ten seconds of spend",
        "bins_missing": "spend of the last minute is missing",
        "cooldown": "the cooldown of {ms} is not over",
        "limit_out_of_range": "the limit is no amount above 0",
        "no_clean_minute": "the last minute was not within the limit",
        "number_out_of_range": "a number is out of range",
        "recovered": "the route kept to its limit and is let go",
        "recovering": "the route may spend {admit_ppm} of its limit again",
        "thrash": "the route went on and off {toggles} times within an hour: the static cap holds",
        "toggles": "the route went on and off {value} times within an hour and stays limited",
        "w60_over": "the last minute was above the limit, twice in a row",
        "w600_over": "the last ten minutes were above ten times the limit",
        "within_limit": "spend is within the limit",
        # The learned limit.
        "clock_stepped_back": "the clock went back",
        "history_too_short": "{hours} hours of history, {min} are needed",
        "hour_malformed": "an hour of history cannot be read",
        "hours_contradict": "two histories of the same hour",
        "learned": "the limit follows what the route usually spends",
        "within_band": "the limit would hardly change and stays",
        # Scaling.
        "bad_minute_not_long_ago": "requests waited too long not long ago",
        "calm_not_seen_for_long_enough": "the load was not low for long enough",
        "gap_open_ms": "{value_ms} of the gap since the last action are left",
        "no_sample": "there is no sample of the load",
        "queue_and_wish": "requests queue and the load asks for {value} replicas",
        "replicas_changed_elsewhere": "somebody else changed the replicas",
        "replicas_out_of_bounds": "the replicas are outside of the configured bounds",
        "replicas_stay": "the replicas stay as they are",
        "sample_contradicts_itself": "the sample of the load contradicts itself",
        "sample_from_the_future": "the sample of the load lies in the future",
        "sample_incomplete": "a number of the sample is missing",
        "sample_not_a_count": "a number of the sample is no count",
        "sample_seen_before": "the sample was seen before",
        "sample_too_old": "the sample of the load is too old",
        "sample_without_time": "the sample of the load has no right time",
        "wish_above_band": "the load asks for {value} replicas",
        "wish_below_band": "the load asks for {value} replicas only",
        "within_bands": "the load asks for about as many replicas as there are",
    }
)
"""Sentence by code. In braces: `value` of `code=N` or `code_N`, a name of `code name=N`, `text`
behind a colon, and `who` did what a flag of the configuration may do as well."""

ANYBODY: Final = "a person or a flag of the configuration"
"""Where only the reason is known: the rule does not tell the two apart."""
PERSON: Final = "a person"
FLAG: Final = "a flag of the configuration"


def who_by(channel: str) -> str:
    """Return who told a controller something, in words.

    Args:
        channel: how it came; empty if that is not known.
    """
    return (FLAG if channel == "flag" else PERSON) if channel else ANYBODY


_REASON = re.compile(
    r"(?P<code>[a-z][a-z0-9_]*?)(?:[=_](?P<value>-?[0-9]+))?"
    r"(?P<named>(?: [a-z_]+=-?[0-9]+)*)(?:: ?(?P<text>.*))?",
    re.DOTALL,
).fullmatch


def code_of(reason: str) -> str:
    """Return the code of a reason without its numbers and words; the reason if it has no code."""
    found = _REASON(reason)
    return reason if found is None else found["code"]


def in_words(reason: str, who: str = ANYBODY) -> str:
    """Say a reason in words.

    Args:
        reason: as a decision has it.
        who: who did it, from `who_by`; only reasons that a flag can give as well say it.

    Returns:
        A sentence without a full stop; the reason itself where its code or a number is unknown.
    """
    found = _REASON(reason)
    if found is None or found["code"] not in WORDS:
        return reason
    values = {"who": who, **dict(_pairs(found["named"]))}
    if found["value"] is not None:
        values["value"] = found["value"]
        values["value_ms"] = spell("ms", int(found["value"]))
    if found["text"] is not None:
        values["text"] = found["text"]
    try:
        return WORDS[found["code"]].format_map(values)
    except KeyError:
        return reason


def _pairs(named: str) -> list[tuple[str, str]]:
    pairs = (pair.partition("=") for pair in named.split())
    return [(name, spell(name, int(number))) for name, _, number in pairs]


def spell(name: str, number: int) -> str:
    """Spell a number for people by the unit that its name ends with.

    Args:
        name: such as `cooldown_ms`, `effect_ppm`, `limit_usd_micros`, `ms`; any other is a count.
        number: in that unit.
    """
    sign, size = ("-" if number < 0 else ""), abs(number)
    if name.endswith("usd_micros"):
        return f"{sign}${_decimals(size, 6, 2)}"
    if name.endswith("ppm"):
        return f"{sign}{_decimals(size, 4, 0)} %"
    if name == "ms" or name.endswith("_ms"):
        return f"{sign}{_decimals(size, 3, 0)} s"
    if name.endswith("milli"):
        return f"{sign}{_decimals(size, 3, 0)}"
    return f"{number:,}"


def _decimals(size: int, places: int, least: int) -> str:
    """Write a number of `10**places`ths exactly, with no more zeros at its end than `least`."""
    whole, rest = divmod(size, 10**places)
    fraction = str(rest).zfill(places).rstrip("0").ljust(least, "0")
    return f"{whole:,}.{fraction}" if fraction else f"{whole:,}"
