"""Composes the graders that judge beside grounding's own checks."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from verismo.adapters.grader_openai import OpenAIGrader
from verismo.evidence.grounding import Grader


@contextmanager
def open_judge(base_url: str, key: str, model: str) -> Iterator[Grader]:
    """Open a model that judges whether a source supports a claim.

    Args:
        base_url: of an OpenAI-compatible API, up to and without `/chat/completions`.
        key: its API key.
        model: the model, or the gateway's operation.
    """
    with closing(OpenAIGrader(base_url, key, model)) as grader:
        yield grader
