"""The files of a new configuration folder, made from the templates in the package."""

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Template
from typing import Final
from urllib.parse import urlsplit

import msgspec

from verismo.model.errors import OperatorError

CHAT_ALIASES: Final = ("gpt-4o", "gpt-4o-mini")
REGIONS: Final = ("us", "eu", "ap")


class Recipe(msgspec.Struct, frozen=True):
    """How a provider's templates are filled in.

    Args:
        template: file in templates/providers/.
        model: chat model that is asked for.
        chat: deployments of the chat operations.
        embedding: deployments of the embedding operation; empty leaves it out.
        models: what the sample tenants may reach.
        credential: the environment variable that must be set; empty for none.
        url: base URL, only for a provider given by URL.
        extras: whether there are upstreams for the GraphQL and HTTP samples.
    """

    template: str
    model: str
    chat: tuple[str, ...] = ("chat",)
    embedding: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    credential: str = ""
    url: str = ""
    extras: bool = False


def recipe_for(provider: str, model: str = "") -> Recipe:
    """Return how to set up a provider.

    Args:
        provider: `simulator`, `openai`, `anthropic`, or the URL of an OpenAI-compatible service.
        model: the chat model to ask for; empty takes the provider's default.

    Raises:
        OperatorError: neither a known provider nor a URL.
    """
    if provider == "simulator":
        return Recipe(
            template="simulator.toml",
            model=model,
            chat=tuple(f"chat-{region}" for region in REGIONS),
            embedding=("embedding-us", "embedding-eu"),
            models=("gpt-*", "text-embedding-*"),
            extras=True,
        )
    if provider == "openai":
        return Recipe(
            template="openai.toml",
            model=model or "gpt-4o-mini",
            embedding=("embedding",),
            models=_patterns(model, "gpt-*", "text-embedding-*"),
            credential="OPENAI_API_KEY",
        )
    if provider == "anthropic":
        return Recipe(
            template="anthropic.toml",
            model=model or "claude-haiku-4-5",
            models=_patterns(model, "claude-*"),
            credential="ANTHROPIC_API_KEY",
        )
    parts = urlsplit(provider)
    if parts.scheme in ("http", "https") and parts.hostname and '"' not in provider:
        return Recipe(
            template="url.toml", model=model or "gpt-4o-mini", models=("*",), url=provider
        )
    raise OperatorError(
        f"{provider!r} is not a provider",
        next_step="Use --provider openai, anthropic, simulator or the URL of an API such as "
        "http://127.0.0.1:8000/v1.",
    )


def _patterns(model: str, *patterns: str) -> tuple[str, ...]:
    known = any(model.startswith(pattern[:-1]) for pattern in patterns)
    return patterns if known or not model else (model, *patterns)


def scaffold(recipe: Recipe) -> dict[str, bytes]:
    """Return the content of every file of a new folder, by path relative to it."""
    root = files("verismo") / "templates"
    documents = {
        name: (root / "operations" / "documents" / name).read_bytes()
        for name in ("user.graphql", "create-ticket.graphql")
    }
    values = _values(recipe, documents)
    values["providers"] = _filled(root / "providers" / recipe.template, values)
    found = {
        "verismo.toml": _filled(root / "verismo.toml", values).encode(),
        ".gitignore": (root / "gitignore").read_bytes(),
        "operations/chat.toml": _filled(root / "operations" / "chat.toml", values).encode(),
    }
    for name in ("mcp.toml", "agents.toml"):
        found[f"operations/{name}"] = (root / "operations" / name).read_bytes()
    names = ["embedding.toml"] if recipe.embedding else []
    names += ["http.toml", "documents.toml"] if recipe.extras else []
    for name in names:
        found[f"operations/{name}"] = _filled(root / "operations" / name, values).encode()
    if recipe.extras:
        found.update({f"operations/documents/{name}": data for name, data in documents.items()})
    found.update({f"policy/{name}": data for name, data in _bundle(root / "policy")})
    return found


def _values(recipe: Recipe, documents: Mapping[str, bytes]) -> dict[str, str]:
    return {
        "model": recipe.model,
        "url": recipe.url.rstrip("/"),
        "models": json.dumps(recipe.models),
        "chat": json.dumps(recipe.chat),
        "embedding": json.dumps(recipe.embedding),
        "aliases": json.dumps(CHAT_ALIASES),
        "graphql": json.dumps(("tickets-us", "tickets-eu") if recipe.extras else ()),
        "user_id": _document_id(documents["user.graphql"]),
        "ticket_id": _document_id(documents["create-ticket.graphql"]),
    }


def _document_id(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _filled(template: Traversable, values: Mapping[str, str]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(values)


def _bundle(folder: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    """List the policy bundle's files; tests of the rules are part of it."""
    found: list[tuple[str, bytes]] = []
    if not folder.is_dir():
        raise OperatorError(
            "the package has no policy templates",
            next_step="Install Verismo again: pip install --force-reinstall 'verismo[gateway]'",
        )
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.name.startswith("__") or item.name.endswith(".pyc"):
            continue
        if item.is_dir():
            found += _bundle(item, f"{prefix}{item.name}/")
        else:
            found.append((f"{prefix}{item.name}", item.read_bytes()))
    return found
