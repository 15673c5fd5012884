"""A real browser that reads streams, plainly and through the verifying `fetch`."""

import shutil
from pathlib import Path
from typing import TypedDict

from playwright.sync_api import Route, sync_playwright

from harness.bodies import SMALL_BYTES, request_body

MODULE = Path(__file__).parents[2] / "verify-js" / "verify.js"
LAUNCH_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
]
_READ = """
async ({key, body, rounds}) => {
  const {verifyingFetch} = await import("/bench/verify.js");
  const keys = await (await fetch("/.well-known/attest/jwks.json")).text();
  const verifying = verifyingFetch({baseUrl: location.origin, keys});
  const asked = {
    method: "POST",
    headers: {"authorization": `Bearer ${key}`, "content-type": "application/json"},
    body,
  };
  async function read(send) {
    const begun = performance.now();
    const response = await send("/v1/chat/completions", asked);
    const decoder = new TextDecoder();
    const arrived = [];
    for (const reader = response.body.getReader(); ; ) {
      const {done, value} = await reader.read();
      if (done) break;
      if (/^data:/m.test(decoder.decode(value))) arrived.push(performance.now() - begun);
    }
    const verdict = response.attest === undefined ? "" : (await response.attest).verdict;
    const gaps = arrived.slice(1).map((at, index) => at - arrived[index]);
    const reading = {
      ms: performance.now() - begun,
      first_ms: arrived[0],
      gap_ms: Math.max(0, ...gaps),
      deliveries: arrived.length,
    };
    return {reading, verdict, status: response.status};
  }
  const times = {plain: [], verified: []};
  for (let round = 0; round < rounds; round++) {
    const plain = await read(fetch);
    const verified = await read(verifying);
    if (plain.status !== 200) throw new Error(`${body.slice(0, 40)}: status ${plain.status}`);
    if (verified.verdict !== "VERIFIED") throw new Error(verified.verdict);
    times.plain.push(plain.reading);
    times.verified.push(verified.reading);
  }
  return times;
}
"""


class BrowserMissing(RuntimeError):
    """There is no Chromium here; nothing is measured then."""


class Reading(TypedDict):
    """One stream that was read.

    Args:
        ms: from asking until the last octet and, if any, the verdict.
        first_ms: from asking until the first event was handed on.
        gap_ms: the longest time between two deliveries with events.
        deliveries: in how many pieces the events were handed on.
    """

    ms: float
    first_ms: float
    gap_ms: float
    deliveries: int


class Times(TypedDict):
    """What was read each way."""

    plain: list[Reading]
    verified: list[Reading]


def stream_times(url: str, key: str, operations: dict[str, str], rounds: int) -> dict[str, Times]:
    """Read streams in turn plainly and verified; each verified one has to be VERIFIED.

    Args:
        url: the gateway's; the page is of the same origin.
        key: an API key.
        operations: what to ask for, by name.
        rounds: how often each way; the first of each is a warm-up and left out.

    Raises:
        BrowserMissing: Debian's package `chromium` is not installed.
    """
    program = shutil.which("chromium")
    if program is None:
        raise BrowserMissing("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=LAUNCH_FLAGS)
        page = browser.new_page()
        page.route("**/bench/*", _serve)
        page.goto(f"{url}/bench/page.html")
        times: dict[str, Times] = {}
        for name, operation in operations.items():
            body = request_body(operation, SMALL_BYTES, stream=True).decode()
            given = {"key": key, "body": body, "rounds": rounds + 1}
            taken = page.evaluate(_READ, given)
            times[name] = {"plain": taken["plain"][1:], "verified": taken["verified"][1:]}
        browser.close()
    return times


def _serve(route: Route) -> None:
    if route.request.url.endswith(".js"):
        route.fulfill(content_type="text/javascript", body=MODULE.read_text(encoding="utf-8"))
    else:
        route.fulfill(content_type="text/html", body="<!doctype html><title>bench</title>")
