"""Where models lie, from settings."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from models.errors import RepositoryError, StoreError
from models.image_header import ImageLimits
from server.catalog import mirroring
from server.catalog.catalog import Catalog
from server.catalog.policy import parse_policy
from server.composition import engine_of
from server.pipeline.decode import DecodePool
from server.settings import SettingsError, load_settings
from server.source import Source, source_of
from server.telemetry.metrics import Metrics
from tests.artifacts import TINY_NAME, publish_tiny_artifact


@pytest.fixture
async def catalog() -> AsyncIterator[Catalog]:
    decoder = DecodePool(1, 1, ImageLimits())
    yield Catalog("", decoder)
    decoder.close()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    root = tmp_path / "remote"
    root.mkdir()
    for _ in range(2):
        publish_tiny_artifact(root)
    return root


def made(catalog: Catalog, *flags: str) -> Source:
    settings = load_settings(flags)
    metrics = Metrics(CollectorRegistry())
    return source_of(settings, catalog, lambda _: parse_policy(settings.version_policy), metrics)


def test_a_path_is_a_folder_and_a_url_is_a_store() -> None:
    assert load_settings(["--repository", "/srv/models"]).repository == Path("/srv/models")
    assert load_settings(["--repository", "s3://bucket/models"]).repository == "s3://bucket/models"


@pytest.mark.parametrize("url", ["ftp://host/models", "s3://bucket/a?key=s3cr3t", "s3:// b"])
def test_a_url_of_another_kind_is_no_store(url: str) -> None:
    with pytest.raises(SettingsError, match=r"repository: .*must be a folder or") as refused:
        load_settings(["--repository", url])
    assert "s3cr3t" not in str(refused.value)


def test_settings_in_logs_have_no_credentials() -> None:
    settings = load_settings(["--repository", "https://ann:s3cr3t@host/models"])
    assert settings.repository == "https://ann:s3cr3t@host/models"
    logged = settings.model_dump(mode="json")
    assert logged["repository"] == "https://host/models"
    assert "s3cr3t" not in json.dumps(logged)


async def test_calls_may_name_what_is_not_followed(
    remote: Path, catalog: Catalog, tmp_path: Path
) -> None:
    source = made(
        catalog, "--repository", f"file://{remote}", "--store-cache", str(tmp_path / "cache")
    )
    await source.start()
    assert source.followed.versions(TINY_NAME) == [2]
    assert source.called.versions(TINY_NAME) == [1, 2]


async def test_nothing_comes_by_itself_where_calls_say_what_is_loaded(
    remote: Path, catalog: Catalog, tmp_path: Path
) -> None:
    flags = ("--model-control", "explicit", "--store-cache", str(tmp_path / "cache"))
    source = made(catalog, "--repository", f"file://{remote}", *flags)
    await source.start()
    assert source.followed.versions(TINY_NAME) == []
    assert (await asyncio.to_thread(source.called.read, TINY_NAME, 1)).manifest.version == 1


async def test_a_store_that_hangs_holds_up_neither_start_nor_end(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "_PATIENCE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        flags = ("--repository", url, "--store-cache", str(tmp_path))
        here = made(catalog, *flags).followed.root
        publish_tiny_artifact(here)
        source = made(catalog, *flags)
        await source.start()
        assert source.followed.versions(TINY_NAME) == [1]
        running = asyncio.create_task(source.run())
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        assert running.cancelled()


async def test_nothing_is_fetched_once_the_server_has_ended(remote: Path, tmp_path: Path) -> None:
    flags = ("--store-cache", str(tmp_path / "cache"), "--lanes", "1", "--decode-workers", "1")
    settings = load_settings(["--repository", f"file://{remote}", *flags])
    async with AsyncExitStack() as stack:
        source = engine_of(settings, Metrics(CollectorRegistry()), lambda: 0, stack).models.source
        await source.start()
    assert source.called.versions(TINY_NAME) == [1, 2]
    with pytest.raises(StoreError, match="stopped"):
        source.called.read(TINY_NAME, 1)


async def test_a_cache_that_others_could_write_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    flags = ("--repository", "file:///", "--store-cache", str(loose))
    with pytest.raises(RepositoryError, match="can be written by others"):
        made(catalog, *flags)
    assert made(catalog, *flags, "--no-store-cache-check").followed.versions(TINY_NAME) == []


async def test_stores_of_the_same_models_have_folders_of_their_own(
    catalog: Catalog, tmp_path: Path
) -> None:
    flags = ("--store-cache", str(tmp_path), "--repository")
    urls = ("http://one/models", "http://two/models", "http://ann:pw@one/models/")
    one, two, again = (made(catalog, *flags, url).followed.root for url in urls)
    assert one == again != two


def test_a_cache_has_some_room() -> None:
    with pytest.raises(SettingsError, match="store_cache_mib"):
        load_settings(["--store-cache-mib", "0"])
