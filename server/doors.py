"""The doors as the settings want them: who may call, and over what."""

import grpc

from server.access.addresses import is_public
from server.access.clients import Scope, parse_clients
from server.access.files import Reread
from server.rpc.door import Door, limits
from server.rpc.tls import TlsFiles, server_credentials
from server.settings import Settings, SettingsError


def door(settings: Settings, host: str | None = None) -> Door:
    """Who may call. Without a clients file administration is for this machine alone.

    Args:
        settings: The operator's.
        host: Where the listener is; None: the serving one.

    Raises:
        SettingsError: The clients file is no good.
    """
    scopes = {Scope.CLASSIFY, Scope.READ}
    if not is_public(settings.host if host is None else host):
        scopes.add(Scope.ADMIN)
    clients = None
    if settings.clients is not None:
        try:
            clients = Reread((settings.clients,), parse_clients)
        except (OSError, ValueError) as error:
            raise SettingsError(f"clients: {settings.clients}: {error}") from error
    quota = limits(settings.client_rate_per_s, settings.client_concurrency)
    return Door(clients, quota, frozenset(scopes))


def credentials_of(
    settings: Settings, host: str | None = None, named: str = "host"
) -> grpc.ServerCredentials | None:
    """TLS, or None where it may be left out.

    Args:
        settings: The operator's.
        host: Where the listener is; None: the serving one.
        named: The setting that says so.

    Raises:
        SettingsError: It may not, or its files are no good.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if (certificate is None) != (key is None):
        raise SettingsError("tls_certificate and tls_key must be set together")
    if certificate is None or key is None:
        if settings.tls_client_ca is not None:
            raise SettingsError("tls_client_ca needs tls_certificate and tls_key")
        host = settings.host if host is None else host
        if is_public(host) and not settings.insecure:
            raise SettingsError(
                f"{named}: {host} can be reached by others and there is no TLS: set"
                " tls_certificate and tls_key, or insecure"
            )
        return None
    try:
        return server_credentials(TlsFiles(certificate, key, settings.tls_client_ca))
    except (OSError, ValueError) as error:
        raise SettingsError(f"tls_certificate, tls_key, tls_client_ca: {error}") from error
