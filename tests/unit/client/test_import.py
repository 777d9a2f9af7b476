import pytest

import client
from tests.imports import loaded_by


@pytest.mark.parametrize(
    "statement",
    ["import client", "from client import *", "from client.__main__ import app"],
)
def test_the_client_needs_no_room_but_proto(statement):
    forbidden = {"torch", "torchvision", "numpy", "PIL", "models", "trainer", "server"}
    assert not loaded_by(statement) & forbidden


def test_importing_the_package_loads_nothing():
    assert not loaded_by("import client") & {"grpc", "google", "rich", "typer", "proto"}


def test_every_public_name_exists():
    for name in client.__all__:
        assert getattr(client, name).__name__ == name
    with pytest.raises(AttributeError, match="Nonsense"):
        client.Nonsense  # noqa: B018 (the access is the test)
