"""Clients are known by what they show, and their file is strict."""

import hashlib

import pytest

from server.access.clients import Scope, parse_clients

TOKEN = "a-token"  # noqa: S105
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()


def entry(**fields: str) -> bytes:
    given = {
        "name": '"shop"',
        "scopes": '["classify"]',
        "token_sha256": f'"{DIGEST}"',
        **fields,
    }
    return (
        b"[[clients]]\n" + "\n".join(f"{k} = {v}" for k, v in given.items() if v).encode() + b"\n"
    )


def test_by_token() -> None:
    clients = parse_clients(entry())
    client = clients.with_token(TOKEN)
    assert client is not None
    assert (client.name, client.scopes) == ("shop", {Scope.CLASSIFY})
    for wrong in (
        "",
        TOKEN + "x",
        TOKEN[:-1],
        DIGEST,
        "\xff",
    ):
        assert clients.with_token(wrong) is None


def test_by_certificate() -> None:
    clients = parse_clients(entry(token_sha256="", certificate='"shop.example.org"'))
    assert clients.with_certificate(["other", "shop.example.org"]) is not None
    assert clients.with_certificate(["shop.example.org.evil"]) is None
    assert clients.with_certificate([]) is None


def test_a_file_without_clients_lets_nobody_in() -> None:
    assert parse_clients(b"").with_token(TOKEN) is None


@pytest.mark.parametrize(
    "data",
    [
        entry(scopes='["everything"]'),
        entry(scopes="[]"),
        entry(token_sha256='"ABC"'),  # noqa: S106
        entry(token_sha256=""),
        entry(name='"with space"'),
        entry(name='"line\\nbreak"'),
        entry(token=f'"{TOKEN}"'),
        entry(rate_per_s="-1"),
        entry(rate_per_s="inf"),
        entry() + entry(),
        b"[[clients",
        b"\xff",
    ],
)
def test_what_is_wrong_is_refused_and_not_quoted(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_clients(data)
    assert TOKEN not in str(refused.value)
    assert DIGEST not in str(refused.value)
