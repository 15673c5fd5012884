"""Hops: what a node of a provenance graph may stand for, and what it may say."""

from typing import Literal

HopKind = Literal[
    "request",
    "policy",
    "budget",
    "cache",
    "route",
    "retrieval",
    "source",
    "tool",
    "model",
    "transform",
    "approval",
    "response",
]
Attribute = str | int | bool
