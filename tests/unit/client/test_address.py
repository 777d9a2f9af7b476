import pytest

from client import AddressError, Client
from client.address import DEFAULT_ADDRESS, is_loopback, server_address


@pytest.mark.parametrize(
    "address", ["127.0.0.1:50051", "localhost:1", "[::1]:65535", "a-b.example.org:80", "web:9"]
)
def test_host_and_port_are_accepted(address):
    assert server_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        ":50051",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:123456789",
        "http://localhost:50051",
        "::1:50051",
        "local host:50051",
        "localhost:50051\n",
        "localhost:\u0665",
        "unix:/tmp/socket:1",
    ],
)
def test_anything_else_is_refused_with_an_example(address):
    with pytest.raises(AddressError, match=r"127\.0\.0\.1:50051") as refused:
        Client(address)
    assert isinstance(refused.value, ValueError)


def test_argument_then_environment_then_default(monkeypatch):
    monkeypatch.setenv("MENAGERIE_SERVER", "elsewhere:1")
    assert server_address("here:2") == "here:2"
    assert server_address(None) == "elsewhere:1"
    monkeypatch.setenv("MENAGERIE_SERVER", "")
    assert server_address(None) == DEFAULT_ADDRESS


def test_loopback():
    assert all(map(is_loopback, ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"]))
    assert not any(map(is_loopback, ["10.0.0.1:1", "example.org:1", "[fe80::1]:1"]))
