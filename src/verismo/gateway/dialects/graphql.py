"""GraphQL providers: the registered document goes out, the answer comes back untouched.

The provider never gets the client's text, nor its ways of naming a document: only the text that was
registered, the operation's name, the variables' exact bytes and the extensions that are left.

Source: GraphQL over HTTP, draft, sections "Request" and "Response"; decisions 20.
"""

import json
from typing import NoReturn

import msgspec

from verismo.gateway.dialects.dialect import Inbound, Outbound
from verismo.gateway.dialects.failure import JSON_MEDIA, UNREADABLE, check_status
from verismo.gateway.jsonbody import JsonBody, parse_object
from verismo.model.errors import MalformedRequest, UpstreamBroken
from verismo.model.operation import Deployment

GRAPHQL_MEDIA = "application/graphql-response+json"

_NO_STREAMS = "subscriptions are not offered; send a query or a mutation"


class _AnyObject(msgspec.Struct):
    """A JSON object of which nothing is read."""


_objects = msgspec.json.Decoder(_AnyObject)


class GraphqlDialect:
    """Speaks to a GraphQL server.

    Args:
        document: the text to run; without one `outbound` refuses.
    """

    def __init__(self, document: str = "") -> None:
        self._document = document

    def with_document(self, document: str) -> "GraphqlDialect":
        """Return this dialect for one document.

        Args:
            document: the exact registered text.
        """
        return GraphqlDialect(document)

    @property
    def transforms(self) -> bool:
        """False: answers are untouched, and the request's document is hashed as what it is."""
        return False

    def outbound(self, kind: str, body: JsonBody, deployment: Deployment, stream: bool) -> Outbound:
        """Spell a call; see `ProviderDialect.outbound`. The deployment's model is not used.

        Raises:
            MalformedRequest: another kind, a stream, no document, or members of wrong types.
        """
        if kind != "graphql":
            raise MalformedRequest(f"a GraphQL provider cannot run {kind} operations")
        if stream:
            raise MalformedRequest(_NO_STREAMS)
        if not self._document:
            raise MalformedRequest("no document is registered for this operation")
        return Outbound(
            method="POST",
            path="",
            headers=(
                ("content-type", JSON_MEDIA),
                ("accept", f"{GRAPHQL_MEDIA}, {JSON_MEDIA};q=0.9"),
            ),
            body=_request_text(self._document, body).encode(),
        )

    def inbound(self, kind: str, status: int, media: str, body: bytes) -> Inbound:
        """Pass a whole answer on, errors too; see `ProviderDialect.inbound`.

        Raises:
            UpstreamBroken: the body is no JSON object, or the status is no answer.
        """
        check_status(status)
        try:
            _objects.decode(body)
        except UNREADABLE as error:
            raise UpstreamBroken("the provider's answer is not a GraphQL response") from error
        known = media.partition(";")[0].strip().lower() in (GRAPHQL_MEDIA, JSON_MEDIA)
        return Inbound(status=status, media=media if known else JSON_MEDIA, body=body)

    def translator(self, body: JsonBody) -> NoReturn:
        """Refuse.

        Raises:
            MalformedRequest: always; subscriptions are not offered.
        """
        raise MalformedRequest(_NO_STREAMS)


def _request_text(document: str, body: JsonBody) -> str:
    members = [f'"query":{json.dumps(document)}']
    body.string("operationName")
    if "operationName" in body.members:
        members.append(f'"operationName":{_value_text(body, "operationName")}')
    if _object_text(body, "variables"):
        members.append(f'"variables":{_value_text(body, "variables")}')
    extensions = _without_persisted_query(_object_text(body, "extensions"))
    if extensions:
        members.append(f'"extensions":{extensions}')
    return "{" + ",".join(members) + "}"


def _value_text(body: JsonBody, name: str) -> str:
    start, end = body.spans[name]
    return body.text[start:end]


def _object_text(body: JsonBody, name: str) -> str:
    """Return the exact text of an object member; nothing if it is missing or null."""
    value = body.members.get(name)
    if value is None:
        return ""
    if not isinstance(value, dict):
        raise MalformedRequest(f"`{name}` must be an object")
    return _value_text(body, name)


def _without_persisted_query(extensions: str) -> str:
    """Return the extensions without Apollo's naming of a document; nothing if none are left."""
    if not extensions:
        return ""
    inner = parse_object(extensions.encode())
    left = [
        f"{json.dumps(name)}:{_value_text(inner, name)}"
        for name in inner.members
        if name != "persistedQuery"
    ]
    return "{" + ",".join(left) + "}" if left else ""
