"""What is left of a verified answer: its report, and the exchange to verify again elsewhere."""

import httpx2
import msgspec

from verismo.attest.exchange import Exchange
from verismo.attest.report import Report
from verismo.client.conversation import EXCHANGE, REPORT
from verismo.client.errors import ClientError


class ExchangeNotKept(ClientError):
    """The exchange was not kept, is not at its end, has no proof, or was over the limit."""

    next_step = "Set keeps_exchanges=True on the Gateway and read the answer to its end first."


def report_of(response: httpx2.Response) -> Report | None:
    """Return the report on an answer.

    Args:
        response: as the client gave it; from the openai SDK `with_raw_response(...).http_response`,
            for a stream `stream.response`.

    Returns:
        The report; None for a read that carries no proof, and for a stream that is still open.
    """
    report = response.extensions.get(REPORT)
    return report if isinstance(report, Report) else None


def save_exchange(
    response: httpx2.Response, graph: bytes | None = None, proof: bytes | None = None
) -> bytes:
    """Return an exchange as one JSON document; `verismo verify FILE --jwks KEYS` proves it.

    It holds request and answer in clear, and the key set in use. Verify it with `--jwks` and a
    key set that is trusted, for who saved the document chose what stands in it.

    Args:
        response: of a gateway with `keeps_exchanges`, read or closed.
        graph: the provenance graph's exact bytes, if it was fetched.
        proof: the ledger's proof file, if it was fetched: `GET /v1/attest/{prov_id}/proof`, which
            answers 409 until the answer is under a checkpoint, a second or two.

    Raises:
        ExchangeNotKept: there is nothing to save.
    """
    exchange = response.extensions.get(EXCHANGE)
    if not isinstance(exchange, Exchange):
        raise ExchangeNotKept("no exchange was kept for this answer")
    if graph is not None:
        text = graph.decode("utf-8", "surrogatepass")
        exchange = msgspec.structs.replace(exchange, graph=text)
    if proof is not None:
        # Octets that are no text are no proof; what stands for them makes check 15 say so.
        exchange = msgspec.structs.replace(exchange, proof=proof.decode("utf-8", "replace"))
    return msgspec.json.encode(exchange)
