"""What a store holds comes here whole or not at all, and stays when the store goes."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models import mirror as mirror_module
from models.errors import RepositoryError, StoreError
from models.leases import Key, Leases
from models.listing import Listing, write_index
from models.mirror import Event, Mirror
from models.mirrored import CalledMirror, FollowedMirror
from models.repository import ModelRepository
from models.stores import Store
from server.catalog.policy import parse_policy
from tests.artifacts import TINY_NAME, publish_tiny_artifact, write_tiny_artifact
from tests.stores import web_server

Told = list[tuple[Event, str, int, str]]


class World:
    """A store in a folder, and a mirror of it.

    Attributes:
        now: What the mirror's clock says.
        policy: As the operator writes it.
    """

    def __init__(self, folder: Path, *, key: Path | None = None) -> None:
        self.remote, self.here, self.key = folder / "remote", folder / "here", key
        self.remote.mkdir()
        self.here.mkdir()
        self.told: Told = []
        self.now, self.policy, self.going_on = 0.0, "latest:1", True
        self.mirror = self.another()

    def another(self, url: str = "", budget_bytes: int = 2**40) -> Mirror:
        """One more process that shares the folder."""
        return Mirror(
            Store(url or f"file://{self.remote}"),
            ModelRepository(self.here, self.key),
            Leases(self.here / ".leases"),
            lambda _, there, labelled: parse_policy(self.policy).wanted(there, labelled),
            budget_bytes,
            lambda *told: self.told.append(told),
            lambda: self.going_on,
            lambda: self.now,
        )

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            publish_tiny_artifact(self.remote)

    def file(self, version: int, name: str) -> Path:
        return self.remote / TINY_NAME / str(version) / name

    def versions(self) -> list[int]:
        return ModelRepository(self.here).versions(TINY_NAME)

    def size(self, version: int) -> int:
        folder = self.remote / TINY_NAME / str(version)
        return sum(path.stat().st_size for path in folder.iterdir())

    def events(self) -> list[tuple[Event, int]]:
        events = [(event, version) for event, _, version, _ in self.told]
        self.told.clear()
        return events


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_is_wanted_comes_and_nothing_else(world: World) -> None:
    world.publish(3)
    world.mirror.refresh()
    assert world.versions() == [3]
    artifact = ModelRepository(world.here).read(TINY_NAME, 3)
    assert artifact.digest == ModelRepository(world.remote).read(TINY_NAME, 3).digest
    world.policy = "all"
    world.mirror.refresh()
    assert world.versions() == [1, 2, 3]
    assert world.events() == [(Event.FETCHED, 3), (Event.FETCHED, 2), (Event.FETCHED, 1)]


def test_a_half_uploaded_version_waits_until_it_is_whole(world: World) -> None:
    world.publish(2)
    path = world.file(2, "model.pt")
    data = path.read_bytes()
    for partly, reason in ((None, "model.pt is not in the store (yet)"), (data[:100], "100 bytes")):
        path.unlink() if partly is None else path.write_bytes(partly)
        world.mirror.refresh()
        assert world.versions() == [1]
        assert reason in world.mirror.refusals(TINY_NAME)[2]
    path.write_bytes(data)
    world.mirror.refresh()
    assert world.versions() == [1, 2]
    assert world.mirror.refusals(TINY_NAME) == {}


def test_a_wrong_digest_is_refused_with_its_reason_and_tried_again_later(world: World) -> None:
    world.publish(2)
    path = world.file(2, "model.pt")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        world.mirror.refresh()
    assert world.versions() == [1]
    assert world.events() == [(Event.REFUSED, 2), (Event.FETCHED, 1)]  # not fetched twice
    followed = FollowedMirror(world.here, None, world.mirror)
    assert followed.misplaced(TINY_NAME) == {2: "model.pt differs from its SHA-256 digest"}
    world.now = 61.0
    world.mirror.refresh()
    assert world.events() == [(Event.REFUSED, 2)]
    world.now = 122.0  # the breaks grow
    world.mirror.refresh()
    assert world.events() == []


def test_a_model_whose_only_version_is_refused_is_told_of(world: World) -> None:
    world.publish()
    world.file(1, "golden.npz").unlink()
    world.mirror.refresh()
    followed = FollowedMirror(world.here, None, world.mirror)
    assert followed.models() == [TINY_NAME]
    assert "golden.npz" in followed.misplaced(TINY_NAME)[1]


def test_a_manifest_of_another_version_is_refused(world: World) -> None:
    world.publish()
    shutil.copytree(world.file(1, "").resolve(), world.remote / TINY_NAME / "7")
    world.mirror.refresh()
    assert world.versions() == [1]
    assert "is of tiny version 1, not of tiny version 7" in world.mirror.refusals(TINY_NAME)[7]


def test_unsigned_versions_are_refused_where_a_key_is_given(tmp_path: Path) -> None:
    world = World(tmp_path, key=tmp_path / "key.pem")
    world.publish()
    world.mirror.refresh()
    assert world.versions() == []
    assert "model.sig" in world.mirror.refusals(TINY_NAME)[1]


def test_what_left_the_store_leaves_once_another_has_its_place(world: World) -> None:
    world.publish(2)
    world.mirror.refresh()
    assert world.versions() == [2]
    shutil.rmtree(world.remote / TINY_NAME / "2")
    world.mirror.refresh()
    assert world.versions() == [1]
    assert world.events()[-2:] == [(Event.FETCHED, 1), (Event.WITHDRAWN, 2)]
    shutil.rmtree(world.remote / TINY_NAME)
    world.mirror.refresh()
    assert world.versions() == [1]  # the last one stays, also for the next start


def test_a_version_that_left_stays_while_what_replaces_it_is_damaged(world: World) -> None:
    world.publish()
    world.mirror.refresh()
    world.publish()
    world.file(2, "model.pt").write_bytes(b"another")
    shutil.rmtree(world.remote / TINY_NAME / "1")
    world.mirror.refresh()
    assert world.versions() == [1]


def test_what_is_wanted_does_not_displace_what_is_wanted(world: World) -> None:
    world.publish(3)
    world.policy = "all"
    mirror = world.another(budget_bytes=2 * world.size(1) + 2000)
    mirror.refresh()
    assert world.versions() == [2, 3]
    assert list(mirror.refusals(TINY_NAME)) == [1]


def test_the_cache_is_bounded_and_loses_first_what_was_used_longest_ago(world: World) -> None:
    world.publish(4)
    mirror = world.another(budget_bytes=3 * world.size(1) + 2000)
    for listed in ("2", "1", "2", "3"):
        world.policy = listed
        mirror.refresh()
    assert world.versions() == [1, 2, 3]
    world.policy = "4"
    mirror.refresh()
    assert world.versions() == [2, 3, 4]
    assert mirror.cached_bytes() <= 3 * world.size(1) + 2000


def test_what_another_process_uses_is_not_evicted(world: World) -> None:
    world.publish(3)
    world.policy = "1"
    world.mirror.refresh()
    other = world.another(budget_bytes=2 * world.size(1) + 2000)
    for listed in ("2", "3"):
        world.policy = listed
        other.refresh()
    assert world.versions() == [1, 2]  # 2 is held until 3 is here, and 1 by the other process
    assert "more than the cache" in other.refusals(TINY_NAME)[3]


def test_a_version_of_absurd_size_is_refused_before_any_of_it_comes(world: World) -> None:
    folder = write_tiny_artifact(world.remote, version=1)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.pt"]["size_bytes"] = 2**60
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_index(world.remote)
    index = json.loads((world.remote / "index.json").read_text())
    index["files"]["tiny/1/model.pt"]["size_bytes"] = 2**60
    (world.remote / "index.json").write_text(json.dumps(index))
    with web_server(world.remote) as address:
        mirror = world.another(f"http://{address}")
        mirror.refresh()
    assert "more than the cache" in mirror.refusals(TINY_NAME)[1]


def test_a_file_longer_than_the_listing_says_is_not_followed_to_its_end(world: World) -> None:
    world.publish()
    write_index(world.remote)
    with world.file(1, "model.pt").open("ab") as file:
        file.truncate(64 * 2**20)
    with web_server(world.remote) as address:
        mirror = world.another(f"http://{address}")
        mirror.refresh()
    assert "model.pt in the store has more than" in mirror.refusals(TINY_NAME)[1]


def test_labels_follow_and_never_point_to_what_is_not_here(world: World) -> None:
    world.publish(2)
    labels = world.remote / TINY_NAME / "labels.json"
    labels.write_text('{"stable": 1}')
    world.mirror.refresh()
    here = ModelRepository(world.here)
    assert (world.versions(), here.labels(TINY_NAME)) == ([1, 2], {"stable": 1})
    world.publish()
    path = world.file(3, "model.pt")
    data = path.read_bytes()
    path.unlink()
    labels.write_text('{"stable": 3}')
    world.mirror.refresh()
    assert here.labels(TINY_NAME) == {"stable": 1}
    path.write_bytes(data)
    world.mirror.refresh()
    assert here.labels(TINY_NAME) == {"stable": 3}
    labels.write_text('{"stable": 9}')
    world.events()
    for _ in range(2):
        world.mirror.refresh()
    assert here.labels(TINY_NAME) == {"stable": 3}
    assert world.events() == [(Event.LABELS_REFUSED, 0)]  # told once
    labels.unlink()
    world.mirror.refresh()
    assert here.labels(TINY_NAME) == {}


def test_of_processes_that_share_a_cache_one_fetches(world: World) -> None:
    world.publish()
    mirrors = [world.mirror, world.another(), world.another()]
    threads = [threading.Thread(target=mirror.refresh) for mirror in mirrors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.versions() == [1]
    assert world.events() == [(Event.FETCHED, 1)]


def test_fetching_can_be_stopped_and_leaves_nothing(world: World) -> None:
    world.publish()
    world.going_on = False
    with pytest.raises(StoreError, match="stopped"):
        world.mirror.refresh()
    assert [path.name for path in (world.here / TINY_NAME).iterdir()] == [".lock"]
    world.going_on = True
    world.mirror.refresh()
    assert world.versions() == [1]


def test_a_call_may_name_what_is_not_wanted(world: World) -> None:
    world.publish(3)
    world.mirror.refresh()
    called = CalledMirror(world.here, None, world.mirror)
    assert called.versions(TINY_NAME) == [1, 2, 3]
    assert called.read(TINY_NAME, 1).manifest.version == 1
    assert world.versions() == [1, 3]
    with pytest.raises(RepositoryError, match="no version 9"):
        called.read(TINY_NAME, 9)


def test_a_call_may_bring_a_version_while_the_store_is_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish(2)
    whole = world.file(2, "model.pt").read_bytes()
    for version in (1, 2):
        world.file(version, "model.pt").write_bytes(b"another")
    world.policy = "all"
    world.mirror.refresh()
    assert set(world.mirror.refusals(TINY_NAME)) == {1, 2}
    world.file(2, "model.pt").write_bytes(whole)
    keys = mirror_module._keys

    def meanwhile(listing: Listing) -> set[Key]:
        monkeypatch.undo()
        world.mirror.bring(TINY_NAME, 2)
        return keys(listing)

    monkeypatch.setattr(mirror_module, "_keys", meanwhile)
    world.mirror.refresh()
    assert world.versions() == [2]


@pytest.fixture
def served(world: World) -> Iterator[Callable[[], Mirror]]:
    """Makes a mirror of the same store behind a web server."""
    world.publish()
    write_index(world.remote)
    with web_server(world.remote) as address:
        yield lambda: world.another(f"http://{address}/")


def test_a_web_server_will_do(world: World, served: Callable[[], Mirror]) -> None:
    mirror = served()
    mirror.refresh()
    assert world.versions() == [1]
    world.publish()
    mirror.refresh()
    assert world.versions() == [1]  # until the index says so
    write_index(world.remote)
    mirror.refresh()
    assert world.versions() == [1, 2]


def test_a_web_server_may_ask_who_it_is(world: World) -> None:
    world.publish()
    write_index(world.remote)
    with web_server(world.remote, asks=True) as address:
        world.another(f"http://ann:pa%40ss@{address}").refresh()
        with pytest.raises(StoreError) as refused:
            world.another(f"http://ann:wrong@{address}").refresh()
    assert world.versions() == [1]
    assert "401" in str(refused.value)
    assert "wrong" not in str(refused.value)


def test_a_store_that_goes_takes_nothing_with_it(world: World) -> None:
    world.publish()
    write_index(world.remote)
    with web_server(world.remote) as address:
        mirror = world.another(f"http://{address}")
        mirror.refresh()
    with pytest.raises(StoreError, match="cannot be read"):
        mirror.refresh()
    with pytest.raises(StoreError, match="cannot be read"):
        world.another(f"http://{address}").refresh()
    assert world.versions() == [1]
