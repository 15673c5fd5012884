"""The GraphQL dialect: a small shop, run by graphql-core, whose data the seed decides.

Sources: the GraphQL specification (September 2025); GraphQL over HTTP (working draft). POST only.
With `Accept: application/graphql-response+json` a request that cannot be run is a 400; with plain
`application/json` it is a 200 whose body says so, as that draft has it.
"""

import hashlib

import msgspec
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLResolveInfo,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from verismo.simulate.answer import FINGERPRINT, Answer, Call
from verismo.simulate.settings import SimulatorSettings
from verismo.simulate.toolinput import JsonValue

GRAPHQL_MEDIA = "application/graphql-response+json"
RESULTS_MAX = 100

SCHEMA_TEXT = '''
"""Every value is simulated: decided by the simulator's seed and the arguments."""
type Query {
  "Names the simulator."
  simulator: String!
  "Null for an id that starts with `missing`."
  user(id: ID!): User
  "Null for an id that starts with `missing`."
  product(id: ID!): Product
  search(text: String!, first: Int = 3): [SearchResult!]!
  "Always a field error beside null."
  faulty: String
}

type Mutation {
  createTicket(subject: String!, body: String): Ticket!
}

type User {
  id: ID!
  name: String!
  email: String!
  region: String!
  orders(first: Int = 2): [Product!]!
}

type Product {
  id: ID!
  name: String!
  priceCents: Int!
  inStock: Boolean!
}

type Ticket {
  id: ID!
  subject: String!
  body: String
  status: TicketStatus!
}

enum TicketStatus { OPEN CLOSED }

union SearchResult = User | Product
'''

_DOCUMENTS_MAX = 256
"""Checked documents that are kept; more than a test or bench has."""
_TOKENS_MAX = 10_000
_NAMES = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Maple", "Rowan", "Willow")
_GOODS = ("Lamp", "Chair", "Table", "Kettle", "Blanket", "Mirror", "Basket", "Clock")
_REGIONS = ("eu-central", "eu-west", "us-east", "ap-south")


Info = GraphQLResolveInfo[None]


class GraphQlRequest(msgspec.Struct, frozen=True):
    """A request's body; `variables` must be an object or null."""

    query: str
    variables: dict[str, msgspec.Raw] | None = None
    operationName: str | None = None  # noqa: N815 - the protocol's name


class GraphQl:
    """Answers `/graphql`.

    Args:
        settings: of the simulator.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._shop = Shop(settings.seed)
        self._schema = build_schema(SCHEMA_TEXT)
        self._documents: dict[str, DocumentNode] = {}
        self._decoder = msgspec.json.Decoder(GraphQlRequest)

    def answer(self, call: Call) -> Answer:
        """Answer a call."""
        media = GRAPHQL_MEDIA if GRAPHQL_MEDIA in call.headers.get("accept", "") else ""
        if call.method != "POST":
            refused = _errors(405, f"{call.method} is not allowed; use POST.", media)
            return msgspec.structs.replace(refused, headers=(("allow", "POST"),))
        if call.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _errors(415, "Send content-type: application/json.", media)
        try:
            request = self._decoder.decode(call.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _errors(400, f"The body is not a GraphQL request: {error}", media)
        result = self._run(request)
        status = 400 if media and result.data is None and not _executed(result) else 200
        body = msgspec.json.encode(result.formatted)
        return Answer(status=status, body=body, media=media or "application/json; charset=utf-8")

    def error(self, status: int, message: str) -> Answer:
        """Return an error in GraphQL's shape."""
        return _errors(status, message, "")

    def _run(self, request: GraphQlRequest) -> ExecutionResult:
        document = self._documents.get(request.query)
        if document is None:
            try:
                document = parse(request.query, max_tokens=_TOKENS_MAX)
            except GraphQLError as error:
                return ExecutionResult(data=None, errors=[error])
            problems = validate(self._schema, document)
            if problems:
                return ExecutionResult(data=None, errors=problems)
            if len(self._documents) < _DOCUMENTS_MAX:
                self._documents[request.query] = document
        variables: dict[str, JsonValue] = {
            name: msgspec.json.decode(raw) for name, raw in (request.variables or {}).items()
        }
        return execute_sync(
            self._schema,
            document,
            root_value=self._shop.root(),
            variable_values=variables,
            operation_name=request.operationName,
        )


class Shop:
    """The simulated data behind the schema.

    Args:
        seed: with a field's arguments it decides every value.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def root(self) -> dict[str, object]:
        """Return the resolvers of the root fields, for graphql-core's default resolver."""
        return {
            "simulator": FINGERPRINT,
            "user": lambda _info, id: self._found("user", id),
            "product": lambda _info, id: self._found("product", id),
            "search": self._search,
            "faulty": self._faulty,
            "createTicket": self._ticket,
        }

    def user(self, identifier: str) -> dict[str, object]:
        """Return a user."""
        draw = self._draw("user", identifier)
        name = _NAMES[draw[0] % len(_NAMES)]
        return {
            "__typename": "User",
            "id": identifier,
            "name": f"Simulated {name}",
            "email": f"{name.lower()}-{draw.hex()[:6]}@example.com",
            "region": _REGIONS[draw[1] % len(_REGIONS)],
            "orders": lambda _info, first: self._orders(identifier, first),
        }

    def product(self, identifier: str) -> dict[str, object]:
        """Return a product."""
        draw = self._draw("product", identifier)
        return {
            "__typename": "Product",
            "id": identifier,
            "name": f"Simulated {_GOODS[draw[0] % len(_GOODS)]}",
            "priceCents": 100 + int.from_bytes(draw[1:3]),
            "inStock": draw[3] % 4 != 0,
        }

    def _found(self, kind: str, identifier: str) -> dict[str, object] | None:
        if identifier.startswith("missing"):
            return None
        return self.user(identifier) if kind == "user" else self.product(identifier)

    def _orders(self, user: str, first: int) -> list[dict[str, object]]:
        return [self.product(f"{user}-{number}") for number in range(_bounded(first))]

    def _search(self, _info: Info, text: str, first: int) -> list[dict[str, object]]:
        draw = self._draw("search", text)
        makers = [self.user if draw[at % 32] % 2 else self.product for at in range(_bounded(first))]
        return [make(f"{draw.hex()[:6]}-{number}") for number, make in enumerate(makers)]

    def _faulty(self, _info: Info) -> str:
        raise GraphQLError("simulated field error", extensions={"code": "SIMULATED"})

    def _ticket(self, _info: Info, subject: str, body: str | None = None) -> dict[str, object]:
        draw = self._draw("ticket", f"{subject}\n{body}")
        return {"id": draw.hex()[:12], "subject": subject, "body": body, "status": "OPEN"}

    def _draw(self, kind: str, text: str) -> bytes:
        octets = f"{self._seed}\n{kind}\n{text}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(octets).digest()


def _bounded(first: int) -> int:
    if not 0 <= first <= RESULTS_MAX:
        raise GraphQLError(f"first must be 0 to {RESULTS_MAX}")
    return first


def _executed(result: ExecutionResult) -> bool:
    """Whether a result without data came from a field, not from the request."""
    return any(error.path is not None for error in result.errors or ())


def _errors(status: int, message: str, media: str) -> Answer:
    body = msgspec.json.encode({"errors": [{"message": message}]})
    return Answer(status=status, body=body, media=media or "application/json; charset=utf-8")
