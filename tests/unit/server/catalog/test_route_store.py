"""What administrators set survives a restart, and a damaged file nobody's."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalog.policy import VersionPolicy
from server.catalog.route_store import FILE_NAME, KeptRoutes, RouteStore
from server.catalog.routes import Route, Share
from tests.artifacts import TINY_NAME, publish_tiny_artifact
from tests.unit.server.catalog.conftest import Make, World

VERSIONS = st.integers(0, 10**18 - 1)
SHARES = st.none() | st.builds(Share, VERSIONS, st.floats(0, 1, exclude_min=True))
LABELS = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
ROUTES = st.builds(
    Route,
    labels=st.dictionaries(LABELS, VERSIONS, max_size=4),
    held_back=st.frozensets(VERSIONS, max_size=4),
    canary=SHARES,
    shadow=SHARES,
)


@given(routes=st.dictionaries(NAMES, ROUTES, max_size=4))
def test_what_is_written_is_read(tmp_path_factory, routes: dict[str, Route]) -> None:
    store = RouteStore(tmp_path_factory.mktemp("state"))
    store.write(routes)
    assert store.read() == {name: route for name, route in routes.items() if route != Route()}


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    assert RouteStore(tmp_path / "made" / "here").read() == {}
    assert list((tmp_path / "made" / "here").iterdir()) == []


def test_a_file_that_cannot_be_read_now_stays(tmp_path: Path) -> None:
    store = RouteStore(tmp_path)
    (tmp_path / FILE_NAME).mkdir()  # as any error of the system that may pass
    with pytest.raises(OSError, match="directory"):
        store.read()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b"\xff\xfe", b"{}", b'{"schema_version": 2, "models": {}}',
        b'{"schema_version": 1, "models": {"../etc": {}}}',
        b'{"schema_version": 1, "models": {"a": {"labels": {"stable": "1"}}}}',
        b'{"schema_version": 1, "models": {"a": {"labels": {"stable": -1}}}}',
        b'{"schema_version": 1, "models": {"a": {"canary": {"version": 1, "share": 1.5}}}}',
        b'{"schema_version": 1, "models": {"a": {"canary": {"version": 1, "share": NaN}}}}',
        b'{"schema_version": 1, "models": {"a": {"else": 1}}}',
        b'{"schema_version": 1, "models": {"a": {"held_back": [' + b"1," * 2**23,
    ],
)  # fmt: skip
def test_a_damaged_file_is_set_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = RouteStore(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(content)
    assert store.read() == {}
    assert "what was set by call is lost" in caplog.text
    assert list(tmp_path.iterdir()) == [tmp_path / "routes.damaged.json"]
    store.write({"pets": Route(labels={"stable": 4})})
    assert store.read() == {"pets": Route(labels={"stable": 4})}


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, before = RouteStore(tmp_path), {"pets": Route(labels={"stable": 4})}
    store.write(before)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write({"pets": Route(labels={"stable": 5})})
    assert RouteStore(tmp_path).read() == before


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        RouteStore(tmp_path / "file")


async def test_a_restart_knows_what_was_set(world_of: Make, tmp_path: Path) -> None:
    world, state = world_of(), RouteStore(tmp_path / "state")
    world.policy = VersionPolicy(latest=3)
    for _ in range(4):
        publish_tiny_artifact(world.root)
    await world.follower.look()
    kept = KeptRoutes(world.catalog, state)
    async with kept.at_work():
        await world.control.roll_back(TINY_NAME)
        world.control.set_label(TINY_NAME, "stable", 2)
        world.control.set_shadow(TINY_NAME, 4, 0.5)
        await kept.settled()
        route = world.catalog.route(TINY_NAME)
        assert RouteStore(tmp_path / "state").read() == {TINY_NAME: route}
        world.control.set_canary(TINY_NAME, 4, 0.25)  # written when it ends
    assert world.catalog.route(TINY_NAME).held_back == frozenset()

    again = world_of()
    again.policy = VersionPolicy(latest=1)
    await KeptRoutes(again.catalog, RouteStore(tmp_path / "state")).restore()
    await again.follower.look()
    assert again.catalog.route(TINY_NAME) == world.catalog.route(TINY_NAME)
    assert set(again.states()) == {2, 4}  # what labels and trials need, and the newest
    assert (await again.classify(label="stable"))[0] == 2
    assert (await again.classify())[0] in (2, 4)


async def test_a_disk_that_is_full_stops_nobody(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    store = RouteStore(tmp_path / "state")

    def full(_routes: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write", full)
    kept = KeptRoutes(world.catalog, store)
    async with kept.at_work():
        world.control.set_label(TINY_NAME, "stable", 1)
        await asyncio.wait_for(kept.settled(), 60)
        assert (await world.classify(label="stable"))[0] == 1
    assert "will not outlive this process" in caplog.text


async def test_without_a_folder_nothing_is_kept(world: World) -> None:
    kept = KeptRoutes(world.catalog, None)
    await kept.restore()
    async with kept.at_work():
        publish_tiny_artifact(world.root)
        await world.follower.look()
        world.control.set_label(TINY_NAME, "stable", 1)
        await asyncio.wait_for(kept.settled(), 60)
