"""Cards to Slack by an incoming webhook.

One thread posts what waits, one card after another, so that a Slack that is slow or away delays
nothing but its cards. 200 takes a card; 429 and 5xx and no answer are tried again with pauses that
double, or as long as Retry-After asks; everything else is the card's or the address's fault and the
card is dropped. The address is a secret: it stands in no message and in no log.

Source: Slack, sending messages using incoming webhooks, rate limits; RFC 9110, section 10.2.3.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import httpx2
import msgspec

from verismo.ports.cards import CardUndelivered

MEDIA: Final = "application/json"
WAITING_MAX: Final = 100
"""Cards that wait; Slack takes about one a second, so older ones are no news by then."""
TRIES_MAX: Final = 5
PAUSE_S: Final = 1.0
PAUSE_S_MAX: Final = 60.0
"""Pauses between tries double from the one to the other."""
RETRY_AFTER_S_MAX: Final = 300.0
"""Slack may ask to be left alone, but not for longer than this."""
ANSWER_BYTES_MAX: Final = 60
"""Of Slack's words for a refusal, such as `invalid_payload`; the rest is not read."""

log = logging.getLogger("verismo.cards")


class WebhookSettings(msgspec.Struct, frozen=True):
    """An incoming webhook.

    Args:
        url: where cards are posted; a secret, `repr` hides it.
        timeout_s: for each step of an exchange.
    """

    url: str
    timeout_s: float = 5.0

    def __repr__(self) -> str:
        return f"WebhookSettings(timeout_s={self.timeout_s})"


class CardFigures(msgspec.Struct, frozen=True):
    """How cards went since the process began; for metrics.

    Args:
        sent: that Slack took.
        lost: that were refused, given up or dropped from a full queue.
        waiting: that are still to be sent.
    """

    sent: int = 0
    lost: int = 0
    waiting: int = 0


class SlackWebhook:
    """Posts one card and waits for the answer; close it.

    Args:
        settings: the webhook.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._client = httpx2.Client(timeout=settings.timeout_s, trust_env=False)

    @property
    def patience_s(self) -> float:
        """How long one exchange may take: connect, send, wait and read have a time-out each."""
        return 4 * self._settings.timeout_s

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def post(self, card: bytes) -> None:
        """Post a card once.

        Raises:
            CardUndelivered: Slack did not take it; `again` says whether it may do so later.
        """
        headers = {"content-type": MEDIA}
        try:
            with self._client.stream(
                "POST", self._settings.url, content=card, headers=headers
            ) as answer:
                words = _first_words(answer)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            # Their texts may hold the address, so nothing of them is kept but the type.
            again = isinstance(error, httpx2.TransportError)
            raise CardUndelivered(
                f"Slack gave no answer ({type(error).__name__})", again=again
            ) from None
        if answer.status_code == httpx2.codes.OK:
            return
        again = answer.status_code == httpx2.codes.TOO_MANY_REQUESTS or answer.status_code >= 500
        raise CardUndelivered(
            f"Slack answered {answer.status_code} {words}".rstrip(),
            again=again,
            retry_after_s=_seconds(answer.headers.get("retry-after", "")),
        )


def post_patiently(
    webhook: SlackWebhook, card: bytes, pause: Callable[[float], bool], tries_max: int = TRIES_MAX
) -> None:
    """Post a card, and again after pauses while Slack says that it may take it later.

    Args:
        webhook: where to.
        card: the body.
        pause: waits for so many seconds; True says that waiting has no more sense.
        tries_max: at least 1.

    Raises:
        CardUndelivered: it was refused, or every try failed.
    """
    pause_s = PAUSE_S
    for left in reversed(range(tries_max)):
        try:
            webhook.post(card)
        except CardUndelivered as error:
            asked_s = min(error.retry_after_s or 0.0, RETRY_AFTER_S_MAX)
            if not error.again or not left or pause(max(pause_s, asked_s)):
                raise
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
        else:
            return


class SlackCards:
    """A `CardSink` over a webhook, with a thread and a bounded queue of its own.

    Args:
        webhook: where cards go; it is closed with this.
        pause: waits for so many seconds or until the process ends; None waits in real time.
    """

    def __init__(self, webhook: SlackWebhook, pause: Callable[[float], bool] | None = None) -> None:
        self._webhook = webhook
        self._ending = threading.Event()
        self._pause = self._ending.wait if pause is None else pause
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._figures = CardFigures()
        # A daemon: a process never waits for Slack at its end.
        self._thread = threading.Thread(target=self._run, name="slack-cards", daemon=True)
        self._thread.start()

    @property
    def figures(self) -> CardFigures:
        """How cards went so far."""
        with self._changed:
            return msgspec.structs.replace(self._figures, waiting=len(self._waiting))

    def hand_over(self, card: bytes) -> None:
        """Take a card and return at once; a full queue drops its oldest card."""
        with self._changed:
            if len(self._waiting) >= WAITING_MAX:
                self._waiting.popleft()
                self._count(lost=1)
            self._waiting.append(card)
            self._changed.notify()

    def close(self) -> None:
        """End the thread; a card that is being posted is given up after its time-out at most."""
        self._ending.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(self._webhook.patience_s)
        self._webhook.close()

    def _run(self) -> None:
        while (card := self._next()) is not None:
            try:
                post_patiently(self._webhook, card, self._pause)
            except CardUndelivered as error:
                log.warning("a card was not delivered", extra={"fields": {"error": error.detail}})
                with self._changed:
                    self._count(lost=1)
            else:
                with self._changed:
                    self._count(sent=1)

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending.is_set())
            return None if self._ending.is_set() else self._waiting.popleft()

    def _count(self, sent: int = 0, lost: int = 0) -> None:
        one = self._figures
        self._figures = CardFigures(one.sent + sent, one.lost + lost)


def _first_words(answer: httpx2.Response) -> str:
    """Read the beginning of an answer; what cannot be printed is left out."""
    first = next(answer.iter_raw(ANSWER_BYTES_MAX), b"")
    return "".join(one for one in first.decode("ascii", "replace") if one.isprintable())


def _seconds(text: str) -> float | None:
    """Read a Retry-After; Slack sends seconds."""
    return float(text[:6]) if text.isascii() and text.isdigit() else None
