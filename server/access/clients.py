"""The clients file: who may call, by token or certificate, and what they may do.

::

    [[clients]]
    name = "shop"
    token_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    scopes = ["classify", "read"]
    rate_per_s = 50      # images a second; 0 or left out: the server's setting
    concurrency = 16     # images at the same time; likewise

    [[clients]]
    name = "operations"
    certificate = "ops.example.org"   # a name in a client certificate (mutual TLS)
    scopes = ["read", "admin"]

Tokens are random and long (``python -m server.access.token`` makes one), so that a
plain SHA-256 of one tells nothing; the token itself stands nowhere on the server.
"""

import hashlib
import hmac
import tomllib
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class Scope(StrEnum):
    """What a client may call."""

    CLASSIFY = "classify"
    READ = "read"
    ADMIN = "admin"


class Client(BaseModel):
    """One who may call.

    Attributes:
        name: For logs and for taking turns.
        scopes: What it may call.
        token_sha256: Of its bearer token, in hexadecimal.
        certificate: A subject alternative name, or the common name, of its certificate.
        rate_per_s: Images a second; 0: the server's setting.
        concurrency: Images at the same time; 0: the server's setting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    scopes: frozenset[Scope] = Field(min_length=1)
    token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    certificate: str | None = Field(default=None, min_length=1)
    rate_per_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    concurrency: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _recognisable(self) -> Self:
        if self.token_sha256 is None and self.certificate is None:
            raise ValueError("token_sha256 or certificate must be set")
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    clients: tuple[Client, ...] = ()


class Clients:
    """Everybody who may call."""

    def __init__(self, clients: Iterable[Client]) -> None:
        clients = tuple(clients)
        self._by_token = [
            (bytes.fromhex(client.token_sha256), client)
            for client in clients
            if client.token_sha256 is not None
        ]
        self._by_certificate = {
            client.certificate: client for client in clients if client.certificate is not None
        }

    def with_token(self, token: str) -> Client | None:
        """The client whose token it is. Takes as long for any token."""
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, client in self._by_token:  # all of them, whichever it is
            if hmac.compare_digest(known, digest):
                found = client
        return found

    def with_certificate(self, names: Iterable[str]) -> Client | None:
        """The client whose certificate bears one of these names."""
        return next(
            (self._by_certificate[name] for name in names if name in self._by_certificate), None
        )


def parse_clients(data: bytes) -> Clients:
    """Read a clients file.

    Raises:
        ValueError: It is no such file. The message quotes nothing of it.
    """
    try:
        file = _File.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise ValueError(
            "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)
        ) from error
    except ValueError as error:
        raise ValueError("it is not TOML in UTF-8") from error
    names = [client.name for client in file.clients]
    if len(set(names)) != len(names):
        raise ValueError("clients: names must be unique")
    return Clients(file.clients)
