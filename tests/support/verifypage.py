"""The verifier's page in a real browser, and what a test may do with it."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[2]
FILE = ROOT / "src" / "verismo" / "pages" / "verify.html"
VECTORS = ROOT / "vectors"
FILE_URL = FILE.as_uri()
LAUNCH_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 10_000
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.effectiveDirective}: ${event.blockedURI}`);
});
"""


class Opener:
    """Opens pages and watches that nothing is refused in them or goes wrong.

    Args:
        browser: a running one.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._views: list[View] = []

    async def open(
        self,
        url: str = FILE_URL,
        *,
        script: str = "",
        width: int = 1_100,
        options: Mapping[str, object] | None = None,
        watched: bool = True,
    ) -> "View":
        """Open the page in a context of its own.

        Args:
            url: of the page.
            script: runs before the page's own.
            width: of the window, CSS pixels.
            options: further ones of the browser's context.
            watched: whether anything refused or wrong fails the test at its end.
        """
        context = await self._browser.new_context(
            viewport={"width": width, "height": 900}, **(options or {})
        )
        self._contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()
        view = View(page)
        if watched:
            self._views.append(view)
        await page.add_init_script(_NOTE_VIOLATIONS + script)
        await page.goto(url)
        return view

    async def close(self) -> None:
        """Close everything, after checking what was watched."""
        wrong = [problem for view in self._views for problem in await view.problems()]
        for context in self._contexts:
            await context.close()
        assert wrong == []


class View:
    """One opened page.

    Args:
        page: the browser's.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _note(self, kind: str, text: str) -> None:
        # What a server answers is no mistake of the page; the page says it in words.
        if kind in ("error", "warning") and "server responded with a status" not in text:
            self.errors.append(text)

    async def problems(self) -> list[str]:
        """Return what the browser refused and what the page's script did wrong."""
        return self.errors + await self.violations()

    async def violations(self) -> list[str]:
        """Return what a Content-Security-Policy refused."""
        found: list[str] = await self.page.evaluate("window.violations")
        return found

    async def give(self, **files: bytes | str) -> None:
        """Choose files, by names in which `__` stands for a dot."""
        await self.page.set_input_files(
            "#files",
            [
                {
                    "name": name.replace("__", "."),
                    "mimeType": "application/octet-stream",
                    "buffer": data.encode() if isinstance(data, str) else data,
                }
                for name, data in files.items()
            ],
        )

    async def verdict(self) -> str:
        """Return the verdict that is shown, once one is."""
        card = self.page.locator(".verdict")
        await card.wait_for()
        return str(await card.get_attribute("data-verdict"))

    async def title(self) -> str:
        """Return the words of the verdict, once there are any."""
        return await self.page.locator("#verdict-title").inner_text()

    async def outcomes(self) -> dict[int, str]:
        """Return the outcome of each check that is shown."""
        rows = await self.page.locator("[data-check]").evaluate_all(
            "rows => rows.map((row) => [row.dataset.check, row.dataset.outcome])"
        )
        return {int(number): outcome for number, outcome in rows}

    async def text(self, selector: str) -> str:
        """Return the text of what a selector finds."""
        return await self.page.locator(selector).first.inner_text()


class Vector:
    """A test vector as files that people would have.

    Args:
        name: of the vector.
    """

    def __init__(self, name: str) -> None:
        self.document = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
        self.exchange = self.document["exchange"]
        self.ledger = self.document.get("ledger", {})

    def saved(self, **changes: object) -> str:
        """Return the saved exchange; None takes a member out."""
        changed = {**self.exchange, **changes}
        return json.dumps({name: value for name, value in changed.items() if value is not None})

    @property
    def jwks(self) -> str:
        """The key set that is to be trusted."""
        return json.dumps(self.document["jwks"])

    @property
    def body(self) -> bytes:
        """The answer's body."""
        return base64.b64decode(self.exchange["response"]["body_base64"])

    @property
    def question(self) -> bytes:
        """The request's body."""
        return base64.b64decode(self.exchange["request"]["body_base64"])

    @property
    def head(self) -> str:
        """The response's head as `curl -D` keeps it."""
        response = self.exchange["response"]
        lines = [f"HTTP/1.1 {response['status']} OK"]
        lines += [f"{name}: {value}" for name, value in response["headers"]]
        return "\r\n".join([*lines, "", ""])

    @property
    def record(self) -> str:
        """The provenance record as the gateway serves it."""
        headers = {name.lower(): value for name, value in self.exchange["response"]["headers"]}
        statement = base64.b64decode(headers["attest-statement"].strip(":"))
        spelled = base64.urlsafe_b64encode(statement).decode().rstrip("=")
        members = {
            "prov_id": headers["attest-prov-id"],
            "statement": spelled,
            "signature": headers["attest-signature"],
        }
        return f'{json.dumps(members)[:-1]},"graph":{self.exchange["graph"]}}}'
