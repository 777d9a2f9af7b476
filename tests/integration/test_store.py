"""A server whose models lie in S3: a real implementation of its API, started here."""

import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from client import Client
from models.image_header import ImageLimits
from models.repository import ModelRepository
from server.catalog.catalog import Catalog
from server.catalog.policy import parse_policy
from server.pipeline.decode import DecodePool
from server.settings import load_settings
from server.source import source_of
from server.telemetry.metrics import Metrics
from tests.artifacts import TINY_NAME, coloured, publish_tiny_artifact
from tests.integration.conftest import Server, run_server
from tests.stores import AWS, Bucket, bucket

TIMEOUT_S = 90
RED = coloured("red").permute(1, 2, 0).contiguous().numpy()


@pytest.fixture(scope="module")
def s3() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with versions 1 to 3."""
    root = tmp_path_factory.mktemp("published")
    for _ in range(3):
        publish_tiny_artifact(root)
    return root / TINY_NAME


def until(holds: Callable[[], bool]) -> None:
    """Wait for what the server does by itself."""
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reachable(server: Server) -> float:
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=30) as page:
        for line in page.read().decode().splitlines():
            if line.startswith("menagerie_store_reachable "):
                return float(line.split()[1])
    raise AssertionError("no such metric")


def reason(client: Client, version: str) -> str:
    reasons = {model.version: model.state_reason for model in client.models()}
    return reasons.get(version, "")


def states(client: Client) -> dict[str, str]:
    return {model.version: model.state for model in client.models()}


async def fetch_once(*flags: str) -> ModelRepository:
    """What a server with these flags fetches when it starts."""
    settings = load_settings(flags)
    metrics = Metrics(CollectorRegistry())
    decoder = DecodePool(1, 1, ImageLimits())
    catalog = Catalog("", decoder)
    source = source_of(settings, catalog, lambda _: parse_policy(settings.version_policy), metrics)
    await source.start()
    decoder.close()
    return source.followed


async def test_google_cloud_storage_is_followed_as_well(
    s3: Bucket, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account.json"
    account.write_text(s3.google_account())
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
    s3.upload(published / "1")
    url = s3.url.replace("s3://", "gs://")
    fetched = await fetch_once("--repository", url, "--store-cache", str(tmp_path / "cache"))
    assert fetched.read(TINY_NAME, 1).manifest.version == 1


@pytest.mark.timeout(400)
async def test_a_store_may_go_away_come_back_and_change(
    s3: Bucket, published: Path, tmp_path: Path
) -> None:
    flags = ("--repository", s3.url, "--store-cache", str(tmp_path / "cache"))
    flags += ("--store-poll-s", "0.2", "--repository-poll-s", "0.2")
    s3.upload(published / "1")
    await fetch_once(*flags)
    s3.go_away()
    with run_server(*flags) as server, Client(server.grpc) as client:
        # What was fetched before serves without the store.
        assert states(client) == {"1": "READY"}
        assert client.classify(RED, top_k=1).predictions[0].id == "red"
        assert reachable(server) == 0
        s3.come_back()
        until(lambda: reachable(server) == 1)

        # Half of a version, then all of it.
        s3.upload(published / "2", "manifest.json", "golden.npz")
        until(lambda: "model.pt is not in the store" in reason(client, "2"))
        s3.upload(published / "2", "model.pt")
        until(lambda: states(client) == {"2": "READY"})

        # Not what its digest says.
        model = bytearray((published / "3" / "model.pt").read_bytes())
        model[200] ^= 1
        s3.upload(published / "3", "manifest.json", "golden.npz")
        s3.put(f"{TINY_NAME}/3/model.pt", bytes(model))
        until(lambda: "SHA-256" in reason(client, "3"))
        assert states(client)["2"] == "READY"

        s3.go_away()
        until(lambda: reachable(server) == 0)
        answer = client.classify(RED, top_k=1)
        assert (answer.version, answer.predictions[0].id) == ("2", "red")
        s3.come_back()
        until(lambda: reachable(server) == 1)

        # What is deleted is replaced by what is left.
        for name in ("manifest.json", "model.pt", "golden.npz"):
            for version in (2, 3):
                s3.delete(f"{TINY_NAME}/{version}/{name}")
        until(lambda: states(client) == {"1": "READY"})
        server.terminate()
        log = server.log.result(timeout=30)
    assert AWS["AWS_SECRET_ACCESS_KEY"] not in log
    assert "the store can be followed again" in log
