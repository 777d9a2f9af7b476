"""TLS credentials that follow their files: each handshake takes the certificate of the moment."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from server.access.files import Reread


@dataclass(frozen=True)
class TlsFiles:
    """PEM files.

    Attributes:
        certificate: The server's chain.
        key: Its private key.
        client_ca: Who signs clients' certificates; given: clients must show one.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that read the files again when they have changed.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is not PEM.
    """
    authority = (files.client_ca,) if files.client_ca else ()
    configuration = Reread((files.certificate, files.key, *authority), _configuration)
    return grpc.dynamic_ssl_server_credentials(
        configuration.get(),
        configuration.changed,  # type: ignore[arg-type] # None: gRPC keeps what it has
        require_client_authentication=files.client_ca is not None,
    )


def _configuration(
    certificate: bytes, key: bytes, client_ca: bytes | None = None
) -> grpc.ServerCertificateConfiguration:
    for data, kind in ((certificate, b"CERTIFICATE"), (key, b"KEY"), (client_ca, b"CERTIFICATE")):
        if data is not None and (b"-----BEGIN " not in data or kind not in data):
            raise ValueError(f"it holds no {kind.decode().lower()} in PEM")
    return grpc.ssl_server_certificate_configuration(
        [(key, certificate)], root_certificates=client_ca
    )
