"""What a TLS handshake with a server says about the server and about this client, in words.

gRPC itself says only that it cannot connect. Python's own ssl module shakes hands here as gRPC
would: with the same authorities, the same certificate of the client, and HTTP/2 on top.
"""

import pkgutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from client.credentials import Credentials

# Of connecting and of a handshake.
REACH_S = 3.0
_DAY_S = 86_400
# OpenSSL's X509_V_ERR_*: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_IP = 9, 10, 62, 64
# RFC 9113, section 3.4, with an empty SETTINGS frame: whoever is let in is answered.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


class HandshakeError(Exception):
    """The handshake fails; the text says why.

    Attributes:
        remedy: What mends it.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that proved who it is.

    Attributes:
        names: Those that its certificate is for.
        days_left: Until the certificate expires.
    """

    names: tuple[str, ...]
    days_left: float


def speaks_tls(host: str, port: int) -> bool:
    """Tell whether whoever listens begins a TLS handshake; whom it trusts is not asked here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with _connected(context, host, port):
            return True
    except ssl.SSLError as error:
        # An alert is an answer in TLS: for example, a certificate is demanded of us.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def shake_hands(host: str, port: int, credentials: Credentials) -> Peer:
    """Shake hands as a client with these credentials would, and return who answered.

    Raises:
        HandshakeError: One side does not accept the other.
        OSError: The connection broke for another reason.
    """
    context = _context(credentials)
    context.check_hostname = False  # once the chain holds, the certificate can be read
    try:
        with _connected(context, host, port) as connection:
            peer = _peer(connection.getpeercert() or {})
        context.check_hostname = True
        with _connected(context, host, port) as connection:
            if not _is_answered(connection):
                raise _refusal(credentials)
    except ssl.SSLCertVerificationError as error:
        known = peer.names if error.verify_code in (_OTHER_NAME, _OTHER_IP) else ()
        raise _distrust(error, host, credentials, known) from error
    except ssl.SSLError as error:
        raise _refusal(credentials) from error
    return peer


def _context(credentials: Credentials) -> ssl.SSLContext:
    bundled = None if credentials.ca else pkgutil.get_data("grpc", "_cython/_credentials/roots.pem")
    context = ssl.create_default_context(
        cafile=credentials.ca, cadata=bundled.decode("ascii") if bundled else None
    )
    context.set_alpn_protocols(["h2"])
    if credentials.certificate is not None:
        try:
            context.load_cert_chain(credentials.certificate, credentials.key)
        except ssl.SSLError as error:
            raise HandshakeError(
                f"{credentials.certificate} and {credentials.key} are no pair",
                "name the certificate and the key that were made together",
            ) from error
    return context


@contextmanager
def _connected(context: ssl.SSLContext, host: str, port: int) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection((host, port), REACH_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        yield connection


def _peer(certificate: "ssl._PeerCertRetDictType") -> Peer:
    names = tuple(str(each[1]) for each in certificate.get("subjectAltName", ()))
    expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    return Peer(names, (expires - time.time()) / _DAY_S)


def _distrust(
    error: ssl.SSLCertVerificationError,
    host: str,
    credentials: Credentials,
    names: tuple[str, ...],
) -> HandshakeError:
    """Why the server's certificate is not accepted here."""
    if error.verify_code in (_OTHER_NAME, _OTHER_IP):
        known = ", ".join(names) or "no name"
        return HandshakeError(
            f"the server's certificate is for {known}, not for {host}",
            "call it by a name of its certificate, or have one issued for this name",
        )
    if error.verify_code == _EXPIRED:
        return HandshakeError(
            "a certificate of the server has expired",
            "replace its files: the server reads them anew, without a restart",
        )
    if error.verify_code == _NOT_YET_VALID:
        return HandshakeError(
            "a certificate of the server is not valid yet", "compare the clocks of both machines"
        )
    if credentials.ca is None:
        return HandshakeError(
            "no authority that is trusted by default signed the server's certificate",
            "name the one that did with --tls-ca PEM",
        )
    return HandshakeError(
        f"the server's certificate is not signed by {credentials.ca}",
        "name the authority that signed it with --tls-ca PEM",
    )


def _is_answered(connection: ssl.SSLSocket) -> bool:
    """Tell whether the server speaks to this client: in TLS 1.3 it refuses a certificate, or that
    there is none, only after the handshake; gRPC hangs up, others send an alert."""
    try:
        connection.sendall(_GREETING)
        return connection.recv(1) != b""
    except (ssl.SSLError, ConnectionError):
        return False


def _refusal(credentials: Credentials) -> HandshakeError:
    """Why the server does not accept this client."""
    if credentials.certificate is None:
        return HandshakeError(
            "the server hangs up on a client without a certificate",
            "name yours with --tls-cert PEM --tls-key PEM",
        )
    return HandshakeError(
        f"the server hangs up on the owner of {credentials.certificate}",
        "have one issued by the authority that the server's --tls-client-ca names",
    )
