"""A set of public keys, ready to verify with: checks 2 to 4.

The signature is verified over the received bytes, before anything in them is parsed. Which key and
which algorithm count is decided by the key set, never by the token.
"""

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verismo.attest import jws
from verismo.attest.keys import PublicKey, has_agreed_r
from verismo.attest.report import CheckFailed, Findings


class KeySet:
    """Public keys by kid with their loaded form; make one for each key set and keep it.

    Args:
        keys: by kid, as `keys.read_jwks` returns them. An empty set verifies nothing.
    """

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        self._keys = {
            kid: (key, Ed25519PublicKey.from_public_bytes(key.raw)) for kid, key in keys.items()
        }
        # A key's headers never change: each is spelled once here, instead of read each time.
        self._headers = {
            jws.protected_header(kid, typ, key.alg): jws.Header(key.alg, kid, typ)
            for kid, key in keys.items()
            if key.kid == kid and key.role == "token"
            for typ in (jws.TYPE_STATEMENT, jws.TYPE_HEAD)
        }

    def verify(self, text: str, payload: bytes, typ: jws.SignatureType, findings: Findings) -> None:
        """Verify a detached JWS over received bytes.

        Args:
            text: `header..signature`.
            payload: the bytes that are said to be signed.
            typ: what they are said to be.
            findings: where checks 2 to 4 are noted.

        Raises:
            CheckFailed: by 2 (profile), 3 (key) or 4 (signature).

        Source: RFC 7515, section 5.2 and appendix F; RFC 8037, section 3.1.
        """
        try:
            parsed = jws.parse_detached(text, typ, self._headers)
        except jws.JwsRefused as error:
            raise CheckFailed(2, str(error)) from error
        findings.passes(2, f"detached JWS of type {typ}")
        kid = parsed.header.kid
        if not self._keys:
            raise CheckFailed(3, "the key set is empty, so nothing can be verified")
        if kid not in self._keys:
            raise CheckFailed(3, f"the key {kid[:64]!r} is not in the key set")
        key, loaded = self._keys[kid]
        if key.kid != kid:
            raise CheckFailed(3, "the key set names the key otherwise than the key itself does")
        if key.role != "token":
            raise CheckFailed(3, f"the key has the role {key.role}, not token")
        if key.alg != parsed.header.alg:
            raise CheckFailed(3, f"the key is for {key.alg}, the token says {parsed.header.alg}")
        findings.passes(3, f"token key {kid}")
        if not has_agreed_r(parsed.signature):
            raise CheckFailed(4, "R is not canonical or of low order; verifiers would disagree")
        try:
            loaded.verify(parsed.signature, jws.signing_input(parsed.protected, payload))
        except InvalidSignature as error:
            raise CheckFailed(4, "the signature is not of this key over these bytes") from error
        findings.passes(4, "Ed25519 signature over the received bytes")
