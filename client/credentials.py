"""How the client proves the server to itself and itself to the server: TLS and a bearer token."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from client.address import is_loopback
from client.errors import CredentialsError

TLS_VARIABLE = "MENAGERIE_TLS"
CA_VARIABLE = "MENAGERIE_CA"
CERTIFICATE_VARIABLE = "MENAGERIE_CLIENT_CERT"
KEY_VARIABLE = "MENAGERIE_CLIENT_KEY"
TOKEN_FILE_VARIABLE = "MENAGERIE_TOKEN_FILE"  # noqa: S105 - a name
TOKEN_VARIABLE = "MENAGERIE_TOKEN"  # noqa: S105 - a name

_TRUE = ("1", "true", "yes")


@dataclass(frozen=True)
class Credentials:
    """TLS and token of a client. What is not given comes from the environment.

    Attributes:
        tls: Use TLS with the authorities that gRPC trusts. A `ca` or a `certificate` implies it.
            Environment: MENAGERIE_TLS=1.
        ca: PEM file of the authorities to trust instead. MENAGERIE_CA.
        certificate: PEM file with this client's certificate chain, for mutual TLS.
            MENAGERIE_CLIENT_CERT.
        key: PEM file with its private key. MENAGERIE_CLIENT_KEY.
        token_file: File with a bearer token, read for each call, so that it may be replaced.
            MENAGERIE_TOKEN_FILE.
        token: The token itself. MENAGERIE_TOKEN.
    """

    tls: bool | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)

    def resolved(self, environment: Mapping[str, str] = os.environ) -> "Credentials":
        """Return the same with what the environment adds."""
        token_file, token = self.token_file, self.token
        if token_file is None and token is None:
            token_file = _path(environment, TOKEN_FILE_VARIABLE)
            token = None if token_file else environment.get(TOKEN_VARIABLE) or None
        tls = self.tls
        if tls is None:
            tls = environment.get(TLS_VARIABLE, "").lower() in _TRUE or None
        return Credentials(
            tls=tls,
            ca=self.ca or _path(environment, CA_VARIABLE),
            certificate=self.certificate or _path(environment, CERTIFICATE_VARIABLE),
            key=self.key or _path(environment, KEY_VARIABLE),
            token_file=token_file,
            token=token,
        )

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return bool(self.tls or (self.tls is None and (self.ca or self.certificate)))

    def channel_credentials(self, address: str) -> grpc.ChannelCredentials | None:
        """Return what a channel to `address` needs; None for one without TLS.

        Raises:
            CredentialsError: A file cannot be read, a certificate lacks its key, or a token would
                leave this machine unencrypted.
        """
        if not self.uses_tls:
            if (self.token or self.token_file) and not is_loopback(address):
                raise CredentialsError(
                    f"the token is not sent to {address} without TLS: name its authority with"
                    f" --tls-ca or ${CA_VARIABLE}, or use --tls"
                )
            return None
        if (self.certificate is None) != (self.key is None):
            raise CredentialsError("a client's certificate and its key must be given together")
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca),
            private_key=_read(self.key),
            certificate_chain=_read(self.certificate),
        )

    def metadata(self) -> tuple[tuple[str, str], ...] | None:
        """Return what each call says of its caller; None where there is no token.

        Raises:
            CredentialsError: The token's file cannot be read, or what it holds is no token.
        """
        token = self.token
        if self.token_file is not None:
            token = (_read(self.token_file) or b"").decode("ascii", "replace").strip()
        if token is None:
            return None
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise CredentialsError("the token must be one word of printable ASCII")
        return (("authorization", f"Bearer {token}"),)


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    return Path(environment[name]) if environment.get(name) else None


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: {error.strerror}") from error
