"""Asks through the real openai SDK, synchronously or not, and tells what the application saw."""

import asyncio
from dataclasses import dataclass, field

import httpx2
from openai import AsyncOpenAI, OpenAI, OpenAIError

from verismo.attest.report import Report
from verismo.client.errors import ClientError
from verismo.client.settings import Gateway
from verismo.client.transport import AsyncVerifyingTransport, VerifyingTransport

MODES = ("sync", "async")
MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass
class Seen:
    """Everything that reached the application."""

    text: str = ""
    error: Exception | None = None
    reports: list[Report] = field(default_factory=list)

    @property
    def verdicts(self) -> list[str]:
        return [report.verdict for report in self.reports]

    @property
    def failed(self) -> list[int]:
        """The numbers of the checks that failed, of the last report."""
        return [check.number for check in self.reports[-1].checks if check.outcome == "fail"]


def ask(mode: str, gateway: Gateway, *, stream: bool = False, max_retries: int = 2) -> Seen:
    """Make one call and catch what it raises."""
    seen = Seen()

    def noted(report: Report, request: httpx2.Request) -> None:
        seen.reports.append(report)

    base = gateway.base_url + "/v1"
    try:
        if mode == "sync":
            transport = VerifyingTransport(gateway, on_report=noted)
            with httpx2.Client(transport=transport, follow_redirects=True) as http:
                client = OpenAI(
                    base_url=base, api_key="k", http_client=http, max_retries=max_retries
                )
                _ask(client, seen, stream)
        else:
            asyncio.run(_ask_async(gateway, noted, seen, stream, max_retries))
    except (ClientError, OpenAIError, httpx2.HTTPError) as error:
        seen.error = error
    return seen


def _ask(client: OpenAI, seen: Seen, stream: bool) -> None:
    if not stream:
        answer = client.chat.completions.create(model="m", messages=MESSAGES)
        seen.text = answer.choices[0].message.content or ""
        return
    for chunk in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
        seen.text += chunk.choices[0].delta.content or ""


async def _ask_async(gateway, noted, seen: Seen, stream: bool, max_retries: int) -> None:
    transport = AsyncVerifyingTransport(gateway, on_report=noted)
    async with httpx2.AsyncClient(transport=transport, follow_redirects=True) as http:
        client = AsyncOpenAI(
            base_url=gateway.base_url + "/v1",
            api_key="k",
            http_client=http,
            max_retries=max_retries,
        )
        if not stream:
            answer = await client.chat.completions.create(model="m", messages=MESSAGES)
            seen.text = answer.choices[0].message.content or ""
            return
        chunks = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for chunk in chunks:
            seen.text += chunk.choices[0].delta.content or ""
