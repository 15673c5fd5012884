"""A witness: cosigns a log's checkpoint if it follows the largest one that it has ever cosigned.

`Witness.add_checkpoint` is the whole protocol without HTTP; the steps are numbered in the order of
the format's text. The one thing that counts is the order of 6 and 7: the new head is durable before
there is a signature, and only the request that moved the head signs.

The clock is a witness's own and comes as an argument. A cosignature states that no larger tree was
known at its time, so a clock that went back behind the last one makes the witness refuse (503)
until it has caught up: otherwise it would contradict itself.

Source: C2SP tlog-witness, tlog-cosignature.
"""

import base64
import logging
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.cosignature import cosignature_line, cosigned_message
from verismo.attest.merkle import EMPTY_ROOT, ProofRefused, verify_consistency
from verismo.attest.note import (
    ALGORITHM_COSIGNATURE,
    NoteRefused,
    VerifierKey,
    read_note,
    verifier_key,
    verify_note,
)
from verismo.attest.submission import SUBMISSION_BYTES_MAX, Submission, read_submission
from verismo.model.errors import StateError
from verismo.model.ledger import read_log_id
from verismo.ports.signer import Signer, SigningFailed
from verismo.ports.witness import (
    TLOG_SIZE_MEDIA,
    SplitView,
    TrustedLog,
    WitnessedHead,
    WitnessStore,
)

LOGS_PER_KEY_MAX: Final = 1_024
"""Logs of one key that is trusted for every region and year: 20 regions for 50 years fit in. A key
in the wrong hands can make no more work than that."""
TEXT_MEDIA: Final = "text/plain; charset=utf-8"
RETRY_S: Final = 5

log = logging.getLogger("verismo.witness")


class WitnessReply(msgspec.Struct, frozen=True):
    """What a witness answers.

    Args:
        status: HTTP.
        body: cosignature lines (200), a size (409 of `text/x.tlog.size`), or why not.
        media: of the body.
    """

    status: int
    body: str
    media: str = TEXT_MEDIA


class Witness:
    """One witness; used from any number of threads.

    Args:
        store: its memory.
        signer: holder of its key.
        name: of the witness, as its verifier key has it.
        now_s: returns Unix seconds.

    Raises:
        NoteRefused: a name that notes cannot carry.
    """

    def __init__(
        self, store: WitnessStore, signer: Signer, name: str, now_s: Callable[[], int]
    ) -> None:
        self._store = store
        self._signer = signer
        self._now_s = now_s
        self.key: VerifierKey = verifier_key(name, signer.public_key, ALGORITHM_COSIGNATURE)

    def add_checkpoint(self, data: bytes) -> WitnessReply:
        """Answer one `add-checkpoint`.

        Args:
            data: the body, at most 128 KiB.

        Raises:
            StateError: the memory cannot be read or written; nothing was signed. Answer 503.
        """
        # 1. The body and the checkpoint in it have their one spelling.
        try:
            submission = read_submission(data)
            note = read_note(submission.checkpoint)
            checkpoint = read_checkpoint(note.text)
        except NoteRefused as error:
            return WitnessReply(400, f"malformed: {error}\n")
        # 2. The log is known, and has signed it. Signatures of other keys are ignored.
        keys = self._keys_of(checkpoint.origin)
        if not keys:
            return WitnessReply(404, "this witness does not know that log\n")
        try:
            verify_note(note, keys)
        except NoteRefused as error:
            return WitnessReply(403, f"{error}\n")
        return self._follow(submission, checkpoint, note.text)

    def _follow(self, submission: Submission, checkpoint: Checkpoint, text: str) -> WitnessReply:
        """Cosign a log's checkpoint if it follows the last one; what the log says is proven."""
        # 3. The old size is no larger than the checkpoint, and is what was cosigned last.
        if submission.old_size > checkpoint.size:
            return WitnessReply(400, "the old size is larger than the checkpoint\n")
        known = self._store.head(checkpoint.origin)
        known_size, known_root = (0, EMPTY_ROOT) if known is None else (known.size, known.root)
        if submission.old_size != known_size:
            return _size_conflict(known_size)
        now_s = self._now_s()
        # 4. At the same size there is one root.
        if known is not None and known_size == checkpoint.size and known_root != checkpoint.root:
            return self._refuse_split(known, checkpoint, submission.checkpoint, now_s)
        # 5. The checkpoint has all that was there before.
        size, root = checkpoint.size, checkpoint.root
        try:
            verify_consistency(known_size, size, submission.proof, known_root, root)
        except ProofRefused as error:
            return _refuse_proof(known_size, known_root, checkpoint, error)
        if known is None and len(self._store.heads()) >= self._logs_max():
            return WitnessReply(404, "this witness takes no more logs\n")
        if known is not None and now_s < known.timestamp_s:
            return _refuse_clock(now_s, known)
        # 6. It is stored, unless another request stored something since step 3.
        head = WitnessedHead(checkpoint.origin, size, root, now_s, submission.checkpoint)
        if not self._store.advance(known, head):
            later = self._store.head(checkpoint.origin)
            return _size_conflict(0 if later is None else later.size)
        # 7. A crash here leaves a head without an answer; the log asks again from that size.
        return self._cosign(text, now_s)

    def _keys_of(self, origin: str) -> tuple[VerifierKey, ...]:
        raws = {one.raw for one in self._store.trusted() if covers(one, origin)}
        return tuple(verifier_key(origin, raw) for raw in sorted(raws))

    def _logs_max(self) -> int:
        trusted = self._store.trusted()
        return sum(LOGS_PER_KEY_MAX if one.every_log else 1 for one in trusted)

    def _cosign(self, text: str, now_s: int) -> WitnessReply:
        try:
            signature = self._signer.sign(cosigned_message(text, now_s))
        except SigningFailed as error:
            raise StateError(
                "the cosignature could not be made", next_step="Check the witness's key."
            ) from error
        return WitnessReply(200, cosignature_line(self.key, now_s, signature))

    def _refuse_split(
        self, known: WitnessedHead, checkpoint: Checkpoint, note: bytes, now_s: int
    ) -> WitnessReply:
        # Two signed checkpoints of one size with two roots: whoever reads both needs no more proof.
        evidence = SplitView(known.origin, known.size, now_s, known.note, note)
        self._store.keep_evidence(evidence)
        words = _two_roots(known.size, known.root, checkpoint)
        fields = {
            "log": known.origin,
            "roots": words,
            "next": "`verismo witness status DIR --evidence` writes out both signed checkpoints.",
        }
        log.error("a log shows two histories", extra={"fields": fields})
        # No `text/x.tlog.size` here: the size is right, and a log that tried again with it would
        # never be told what is wrong.
        return WitnessReply(409, f"another history: {words}\n")


def covers(trusted: TrustedLog, origin: str) -> bool:
    """Say whether a trusted key may sign for an origin.

    A key for every log stands for `<origin><region>/<yyyy>` and for nothing else that begins so.
    """
    if not trusted.every_log:
        return origin == trusted.origin
    region, _, year = origin.removeprefix(trusted.origin).partition("/")
    return origin.startswith(trusted.origin) and read_log_id(region, year) is not None


def witness_app(witness: Witness) -> Starlette:
    """Return the ASGI application: `POST /add-checkpoint`, and the verifier key at `GET /`."""

    async def add_checkpoint(request: Request) -> Response:
        data = b""
        async for part in request.stream():
            data += part
            if len(data) > SUBMISSION_BYTES_MAX:
                return _response(WitnessReply(413, f"at most {SUBMISSION_BYTES_MAX} octets\n"))
        try:
            reply = await run_in_threadpool(witness.add_checkpoint, data)
        except StateError as error:
            _tell(error)
            reply = WitnessReply(503, "the witness cannot keep its memory now\n")
        return _response(reply)

    async def show_key(request: Request) -> Response:
        return _response(WitnessReply(200, f"{witness.key.vkey}\n"))

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/", show_key, methods=["GET"]),
        ]
    )


def _tell(error: StateError) -> None:
    fields = {"error": error.detail, "next": error.advice}
    log.error("nothing is cosigned", extra={"fields": fields})


def _response(reply: WitnessReply) -> Response:
    headers = {"content-type": reply.media, "cache-control": "no-store"}
    if reply.status == 503:
        headers["retry-after"] = str(RETRY_S)
    return Response(reply.body.encode("utf-8"), reply.status, headers)


def _size_conflict(size: int) -> WitnessReply:
    return WitnessReply(409, f"{size}\n", TLOG_SIZE_MEDIA)


def _refuse_proof(
    known_size: int, known_root: bytes, checkpoint: Checkpoint, error: ProofRefused
) -> WitnessReply:
    words = _two_roots(known_size, known_root, checkpoint)
    fields = {"log": checkpoint.origin, "roots": words, "error": str(error)}
    # A wrong proof alone proves nothing against the log: anybody can send one.
    log.warning("a checkpoint that does not follow", extra={"fields": fields})
    return WitnessReply(422, f"{error}: {words}\n")


def _refuse_clock(now_s: int, known: WitnessedHead) -> WitnessReply:
    fields = {
        "now_s": now_s,
        "last_s": known.timestamp_s,
        "next": "Set the clock. If the last time lies in the future by mistake, nothing is "
        "cosigned for this log until then; docs/witnessing.md says what can be done.",
    }
    log.error("the clock went back behind the last cosignature", extra={"fields": fields})
    return WitnessReply(503, "the witness's clock went back\n")


def _two_roots(size: int, root: bytes, checkpoint: Checkpoint) -> str:
    return (
        f"cosigned is size {size} with root {_base64(root)}, "
        f"submitted is size {checkpoint.size} with root {_base64(checkpoint.root)}"
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
