"""The door: who calls, and may they?

A client is known by its bearer token (RFC 6750, metadata ``authorization``) or, with mutual
TLS, by a name in its certificate. Without a clients file everybody may classify and read.
"""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from server.access.clients import Client, Clients, Scope
from server.access.methods import scope_of
from server.access.quotas import Limits, Quota, Quotas
from server.errors import PermissionDeniedError, UnauthenticatedError

if TYPE_CHECKING:
    from server.access.files import Reread
    from server.rpc.calls import Context

_BEARER = "bearer "
_LONGEST_TOKEN = 4096


@dataclass(frozen=True)
class Visitor:
    """Who is in.

    Attributes:
        name: The client's; the peer's host where clients are not known.
        quota: What is left of what it may ask for.
        known: Whether the name is proven.
    """

    name: str
    quota: Quota
    known: bool


visitor: ContextVar[Visitor] = ContextVar("visitor")


class Door:
    """Lets calls in.

    Args:
        clients: Who may call; None: everybody.
        limits: What a client may ask for that has no limits of its own.
        open_scopes: What everybody may call where clients are not known.
    """

    def __init__(
        self, clients: Reread[Clients] | None, limits: Limits, open_scopes: frozenset[Scope]
    ) -> None:
        self._clients = clients
        self._open_scopes = open_scopes
        self._limits = limits
        self._quotas = Quotas(limits, time.monotonic)

    def enter(self, method: str, context: Context) -> None:
        """Let a call in; ``visitor`` then says whose it is.

        Raises:
            UnauthenticatedError: The client is not known.
            PermissionDeniedError: It may not call this method.
            QuotaError: It calls too often.
        """
        scope = scope_of(method)
        if scope is None:
            return
        if self._clients is None:
            name, scopes = context.peer().rpartition(":")[0], self._open_scopes
            entering = Visitor(name, self._quotas.of(name), known=False)
        else:
            client = _known(self._clients.get(), context)
            name, scopes = client.name, client.scopes
            entering = Visitor(name, self._quotas.of(name, self._own(client)), known=True)
        if scope not in scopes:
            raise PermissionDeniedError(f"{method} needs the scope {scope}, which {name} has not")
        if scope is not Scope.CLASSIFY:  # there each image counts, not each call
            entering.quota.count()
        visitor.set(entering)

    def _own(self, client: Client) -> Limits:
        return Limits(
            client.rate_per_s or self._limits.rate_per_s,
            client.concurrency or self._limits.concurrency,
        )


def limits(rate_per_s: float, concurrency: int) -> Limits:
    """Limits as settings say them, where 0 means none."""
    return Limits(rate_per_s or inf, concurrency or inf)


def _known(clients: Clients, context: Context) -> Client:
    header = next(_values(context, "authorization"), None)
    if header is not None:
        if not header.lower().startswith(_BEARER) or len(header) > _LONGEST_TOKEN:
            raise UnauthenticatedError("authorization must be: Bearer TOKEN")
        client = clients.with_token(header[len(_BEARER) :].strip())
        if client is None:
            raise UnauthenticatedError("authorization: the token is unknown")
        return client
    client = clients.with_certificate(_certificate_names(context))
    if client is None:
        raise UnauthenticatedError(
            "authorization is missing, and no client is known by its certificate"
        )
    return client


def _values(context: Context, wanted: str) -> Iterator[str]:
    for key, value in context.invocation_metadata() or ():
        if key == wanted and isinstance(value, str):
            yield value


def _certificate_names(context: Context) -> list[str]:
    proven = context.auth_context()
    return [
        name.decode(errors="replace")
        for key in ("x509_subject_alternative_name", "x509_common_name")
        for name in proven.get(key, ())
    ]
