"""Settings that leave a door open are refused."""

from pathlib import Path

import pytest

from server.doors import credentials_of, door
from server.settings import Settings, SettingsError
from tests.integration.certificates import Authority


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return Authority("authority").issue("server").write(tmp_path, "server")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_this_machine_alone_needs_no_tls(host: str) -> None:
    assert credentials_of(Settings(host=host)) is None


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "[::]", "192.168.0.1", "10.0.0.1", "example.org", "", "0"],  # noqa: S104
)
def test_a_public_address_needs_tls_or_a_word(host: str, pair: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsError, match="can be reached by others"):
        credentials_of(Settings(host=host))
    assert credentials_of(Settings(host=host, insecure=True)) is None
    certificate, key = pair
    assert credentials_of(Settings(host=host, tls_certificate=certificate, tls_key=key))


def test_certificate_and_key_belong_together(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = pair
    for incomplete in ({"tls_certificate": certificate}, {"tls_key": key}):
        with pytest.raises(SettingsError, match="must be set together"):
            credentials_of(Settings(**incomplete))
    with pytest.raises(SettingsError, match="tls_client_ca needs"):
        credentials_of(Settings(tls_client_ca=certificate))
    with pytest.raises(SettingsError, match="holds no certificate"):
        credentials_of(Settings(tls_certificate=key, tls_key=key))
    with pytest.raises(SettingsError, match="No such file"):
        credentials_of(Settings(tls_certificate=tmp_path / "missing", tls_key=key))


def test_a_clients_file_must_be_right(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    path.write_text("[[clients]]\nname = 'x'\nscopes = ['everything']\ntoken_sha256 = 'secret'")
    with pytest.raises(SettingsError, match=r"clients\.0\.scopes") as refused:
        door(Settings(clients=path))
    assert "secret" not in str(refused.value)
