"""Conformance of an upstream adapter over TLS: whom it trusts and what a cut connection means."""

import datetime
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.ports.upstream_calls import UpstreamCase, answer, call_to, chunked, fetch
from tests.ports.upstream_server import Connection, answering, closing, serving

from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import UpstreamBroken, UpstreamUnreachable

PEM = serialization.Encoding.PEM
LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("elsewhere.example")


@dataclass(frozen=True)
class Authority:
    """A certificate authority that exists for one test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: Authority | None,
    names: x509.GeneralName | None,
    days: int,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=9)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([names]), critical=False)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(key, _certificate("test authority", key, None, None, 30))


def server_context(
    issuer: Authority, folder: Path, name: x509.GeneralName = LOOPBACK, days: int = 30
) -> ssl.SSLContext:
    """Return a server's TLS settings with a certificate of that authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("test server", key, issuer, name, days)
    file = folder / "server.pem"
    file.write_bytes(
        certificate.public_bytes(PEM)
        + key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


class Tls(UpstreamCase):
    """https origins."""

    async def test_a_trusted_provider_is_reached_and_the_connection_used_again(
        self, tmp_path: Path
    ) -> None:
        root = authority()
        upstream = self.make(UpstreamSettings(roots_pem=root.pem))
        body = b"x" * 100_000
        async with serving(answering(answer(body)), server_context(root, tmp_path)) as server:
            for _ in range(3):
                assert await fetch(upstream, call_to(server.url)) == (200, body)
            assert server.accepted == 1
            await upstream.aclose()
            await server.until(lambda state: state.open == 0)

    async def test_chunks_come_over_tls(self, tmp_path: Path) -> None:
        root = authority()
        upstream = self.make(UpstreamSettings(roots_pem=root.pem))
        raw = chunked(b"data: 1\n\n", b"data: 2\n\n")
        async with serving(answering(raw), server_context(root, tmp_path)) as server:
            reply = await upstream.send(call_to(server.url))
            assert b"".join([piece async for piece in reply.chunks()]) == b"data: 1\n\ndata: 2\n\n"
            await reply.aclose()
            await upstream.aclose()

    async def test_an_unknown_authority_is_refused(self, tmp_path: Path) -> None:
        await self._refused(UpstreamSettings(), server_context(authority(), tmp_path))

    async def test_another_authority_of_the_same_name_is_refused(self, tmp_path: Path) -> None:
        settings = UpstreamSettings(roots_pem=authority().pem)
        await self._refused(settings, server_context(authority(), tmp_path))

    async def test_a_certificate_for_another_name_is_refused(self, tmp_path: Path) -> None:
        root = authority()
        settings = UpstreamSettings(roots_pem=root.pem)
        await self._refused(settings, server_context(root, tmp_path, ELSEWHERE))

    async def test_an_expired_certificate_is_refused(self, tmp_path: Path) -> None:
        root = authority()
        settings = UpstreamSettings(roots_pem=root.pem)
        await self._refused(settings, server_context(root, tmp_path, days=3))

    async def test_a_provider_without_tls_is_refused(self) -> None:
        await self._refused(UpstreamSettings(), None)

    async def _refused(self, settings: UpstreamSettings, tls: ssl.SSLContext | None) -> None:
        upstream = self.make(settings)

        async def script(connection: Connection) -> None:
            await connection.reader.read(1)
            await connection.send(answer(b"not over TLS"))

        async with serving(script, tls) as server:
            with pytest.raises(UpstreamUnreachable):
                await upstream.send(call_to(f"https://127.0.0.1:{server.port}/"))
            assert server.requests == []
            await server.until(lambda state: state.open == 0)
            await upstream.aclose()

    @pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
    async def test_truncation_of_a_body_without_a_length_is_noticed(
        self, tmp_path: Path, reset: bool
    ) -> None:
        """A cut that anyone on the path can make must not look like the body's end."""
        root = authority()
        upstream = self.make(UpstreamSettings(roots_pem=root.pem))

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf of")
            if reset:
                connection.reset()
            else:  # the end of TCP without the end of TLS
                connection.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
                await connection.gone()

        async with serving(script, server_context(root, tmp_path)) as server:
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url))
            await upstream.aclose()

    async def test_a_cut_within_the_body_is_noticed(self, tmp_path: Path) -> None:
        root = authority()
        upstream = self.make(UpstreamSettings(roots_pem=root.pem))
        raw = answer(b"0123456789")[:-1]
        async with serving(closing(raw), server_context(root, tmp_path)) as server:
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url))
            await upstream.aclose()
