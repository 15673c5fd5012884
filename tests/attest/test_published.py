"""Vectors that others published: Wycheproof, RFC 8785, the JOSE cookbook, structured fields."""

import base64
import json
import string

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.support.conformance import conforms

from verismo.attest import jws
from verismo.attest.jws import JwsRefused, parse
from verismo.attest.keys import PublicKey, has_agreed_r, import_key, thumbprint
from verismo.attest.keyset import KeySet
from verismo.attest.report import CheckFailed, Findings
from verismo.model import base64url, canonical


def verifies(raw, message, signature):
    """Verify any message with our own path: its check of R, then the library."""

    if len(signature) != jws.SIGNATURE_BYTES or not has_agreed_r(signature):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_wycheproof_ed25519_is_decided_as_published(published):
    path = published / "wycheproof" / "testvectors_v1" / "ed25519_test.json"
    document = json.loads(path.read_bytes())
    results = []
    for group in document["testGroups"]:
        raw = bytes.fromhex(group["publicKey"]["pk"])
        key = import_key(raw, "token")
        assert key.raw == raw
        for case in group["tests"]:
            got = verifies(raw, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert got == (case["result"] == "valid"), case
            results.append(case["result"])
    assert len(results) == document["numberOfTests"] == 151
    numbers = {
        "cases": len(results),
        "valid": results.count("valid"),
        "invalid": results.count("invalid"),
        "Python": len(results),
    }
    conforms("Wycheproof: Ed25519", {"Wycheproof": numbers})


def test_wycheproof_jws_is_refused_whole(published):
    """None of them is a detached Ed25519 token of ours, so not one may even be parsed."""
    path = published / "wycheproof" / "testvectors_v1" / "json_web_signature_test.json"
    document = json.loads(path.read_bytes())
    cases = [case for group in document["testGroups"] for case in group["tests"]]
    assert len(cases) == document["numberOfTests"] == 401
    for case in cases:
        text = case["jws"] if isinstance(case["jws"], str) else json.dumps(case["jws"])
        parts = text.split(".")
        detached = f"{parts[0]}..{parts[-1]}"
        for token in (text, detached):
            with pytest.raises(JwsRefused):
                parse(token)
    numbers = {"cases": len(cases), "taken": 0, "refused": len(cases)}
    conforms("Wycheproof: JSON Web Signature", {"Wycheproof": numbers})


def test_rfc_8785_outputs_are_reproduced_within_the_domain(published):
    folder = published / "rfc8785-cyberphone" / "testdata"
    inside, outside = set(), set()
    for path in sorted((folder / "input").glob("*.json")):
        value = json.loads(path.read_bytes())
        expected = (folder / "output" / path.name).read_bytes()
        try:
            got = canonical.encode(value)
        except canonical.NotCanonical:
            outside.add(path.name)
            continue
        inside.add(path.name)
        assert got == expected
        assert got == bytes.fromhex((folder / "outhex" / path.with_suffix(".txt").name).read_text())
    assert inside == {"arrays.json", "unicode.json"}
    assert outside == {"french.json", "structures.json", "values.json", "weird.json"}
    numbers = {
        "documents": len(inside | outside),
        "reproduced": len(inside),
        "outside the domain": len(outside),
    }
    conforms("RFC 8785", {"documents of its author": numbers})


def test_rfc_8785_sorting_and_escapes_within_values(published):
    """`weird.json` has keys beyond ASCII; its values and its ASCII keys are in the domain."""
    folder = published / "rfc8785-cyberphone" / "testdata" / "input"
    value = json.loads((folder / "weird.json").read_bytes())
    kept = {key: item for key, item in value.items() if key.isascii()}
    assert canonical.encode(kept) == (
        b'{"\\n":"Newline","\\r":"Carriage Return","1":"One","</script>":"Browser Challenge"}'
    )
    assert canonical.encode(list(value.values())[4]) == b'"Control\x7f"'


def test_jose_cookbook_ed25519_signature_verifies_as_published(published):
    document = json.loads((published / "jose-cookbook" / "curve25519" / "jws.json").read_bytes())
    raw = base64url.decode(document["input"]["key"]["x"])
    protected = document["signing"]["protected_b64u"]
    message = jws.signing_input(protected, document["input"]["payload"].encode())
    assert message.decode() == document["signing"]["sig-input"]
    assert verifies(raw, message, base64url.decode(document["signing"]["sig"]))
    assert thumbprint(raw) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_jose_cookbook_tokens_are_outside_our_profile(published):
    paths = [
        *(published / "jose-cookbook" / "jws").glob("*.json"),
        *(published / "jose-cookbook" / "curve25519").glob("*.json"),
        *(published / "jose-cookbook" / "rfc7797").glob("*.json"),
    ]
    texts = [json.loads(path.read_bytes())["output"].get("compact") for path in paths]
    texts = [text for text in texts if text]
    assert len(texts) >= 6
    for text in texts:
        with pytest.raises(JwsRefused):
            parse(text)


def test_structured_field_byte_sequences_are_read_strictly(published):
    """Where RFC 9651 lets a parser choose (`can_fail`), ours refuses: one value, one spelling."""
    path = published / "rfc9651-structured-fields" / "binary.json"
    cases = json.loads(path.read_bytes())
    for case in cases:
        (text,) = case["raw"]
        if case.get("must_fail") or case.get("can_fail"):
            with pytest.raises(base64url.NotBase64):
                base64url.decode_binary_item(text)
        else:
            expected = base64.b32decode(case["expected"][0]["value"])
            assert base64url.decode_binary_item(text) == expected
    assert len(cases) >= 15


@pytest.mark.parametrize("name", ["item", "token", "string", "number", "boolean", "date"])
def test_other_structured_items_are_not_byte_sequences(published, name):
    cases = json.loads((published / "rfc9651-structured-fields" / f"{name}.json").read_bytes())
    for case in cases:
        text = ", ".join(case["raw"])
        with pytest.raises(base64url.NotBase64):
            base64url.decode_binary_item(text)
    assert cases


def test_rfc_8032_key_in_another_role_does_not_sign_tokens(published):
    document = json.loads((published / "jose-cookbook" / "curve25519" / "jws.json").read_bytes())
    raw = base64url.decode(document["input"]["key"]["x"])
    key = PublicKey(kid=thumbprint(raw), alg="EdDSA", role="log", raw=raw)
    protected = jws.protected_header(key.kid, jws.TYPE_STATEMENT, "EdDSA")
    text = jws.detached(protected, bytes(64))
    with pytest.raises(CheckFailed, match="role log"):
        KeySet({key.kid: key}).verify(text, b"", jws.TYPE_STATEMENT, Findings())
    assert set(key.kid) <= set(string.ascii_letters + string.digits + "-_")
