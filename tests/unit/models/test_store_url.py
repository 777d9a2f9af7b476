"""What of an address may be seen."""

import base64

import pytest

from models.store_url import basic_authorization, without_credentials


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("s3://bucket/models", "s3://bucket/models"),
        ("https://ann:pa%40ss@host:8443/models", "https://host:8443/models"),
        ("https://token@host/models", "https://host/models"),
        ("https://a@b:p@host/models", "https://host/models"),
        ("file:///srv/models", "file:///srv/models"),
    ],
)
def test_neither_name_nor_password_is_seen(url: str, seen: str) -> None:
    assert without_credentials(url) == seen


def test_name_and_password_become_the_header_that_http_has_for_them() -> None:
    header = basic_authorization("https://ann:pa%40ss@host/models")
    assert header == "Basic " + base64.b64encode(b"ann:pa@ss").decode()
    assert basic_authorization("https://host/models") is None
