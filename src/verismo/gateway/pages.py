"""Serves the verifier's page, so that an answer can be verified where its gateway is.

The page is one file that loads nothing. Its own policy allows its one script and style by their
hashes; the header says the same once more, and narrows its connections to this gateway: whatever
somebody drops on the page, and whatever key they give it, can go nowhere else.
"""

import hashlib
import re

from verismo.gateway.reply import Headers
from verismo.model.errors import MethodNotAllowed, StateError
from verismo.model.traffic import Reply, Request

VERIFY_PAGE_PATH = "/verify"

_POLICY = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"]+)">')
_CONNECT = re.compile(rb"connect-src [^;]*")


class VerifyPage:
    """The page and its headers.

    Args:
        document: the self-contained file.

    Raises:
        StateError: it has no policy of its own, so it is not the page that was made.
    """

    def __init__(self, document: bytes) -> None:
        policy = _POLICY.search(document)
        if policy is None or _CONNECT.search(policy[1]) is None:
            raise StateError(
                "the verifier's page has no Content-Security-Policy",
                next_step="Install the package again; its files were changed.",
            )
        narrowed = _CONNECT.sub(b"connect-src 'self'", policy[1])
        self._document = document
        self._etag = f'"{hashlib.sha256(document).hexdigest()[:32]}"'
        self._headers: Headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", narrowed + b"; frame-ancestors 'none'"),
            # Asked for anew each time, and answered by a 304: after an update nobody verifies
            # with the page of an older version.
            (b"cache-control", b"no-cache"),
            (b"etag", self._etag.encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]

    def answer(self, request: Request) -> Reply:
        """Answer `GET` and `HEAD`.

        Raises:
            MethodNotAllowed: any other method.
        """
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("this path takes GET and HEAD")
        if self._etag in request.headers.get("if-none-match", ""):
            return Reply(status=304, headers=list(self._headers))
        return Reply(status=200, headers=list(self._headers), body=self._document)
