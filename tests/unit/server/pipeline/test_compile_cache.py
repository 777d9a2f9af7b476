"""The cache of native code: what it takes, gives back and refuses."""

import os
import time
from pathlib import Path

import pytest

from server.pipeline.compile_cache import CacheError, CompileCache, DamagedEntryError

KEY = "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def keep(cache: CompileCache, content: bytes = b"code") -> dict[str, Path]:
    with cache.staging() as staged:
        (staged / "1.so").write_bytes(content)
        return cache.keep(KEY, {"1.so": staged / "1.so"})


def test_what_was_kept_is_found_and_nothing_else_is_left(folder: Path) -> None:
    cache = CompileCache(folder)
    assert cache.find(KEY) is None
    kept = keep(cache)
    assert CompileCache(folder).find(KEY) == kept
    assert kept["1.so"].read_bytes() == b"code"
    assert [path.name for path in folder.iterdir()] == [KEY]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_first_of_two_servers_stays(folder: Path) -> None:
    keep(CompileCache(folder), b"first")
    assert keep(CompileCache(folder), b"second")["1.so"].read_bytes() == b"first"


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "1.so").write_bytes(b"coda"),
        lambda entry: (entry / "1.so").unlink(),
        lambda entry: (entry / "digests.json").write_text("{"),
        lambda entry: (entry / "digests.json").write_text("[]"),
        lambda entry: ((entry / "1.so").unlink(), (entry / "1.so").symlink_to("/bin/true")),
    ],
)
def test_a_damaged_entry_is_refused_and_removed(folder: Path, damage) -> None:
    cache = CompileCache(folder)
    keep(cache)
    damage(folder / KEY)
    with pytest.raises(DamagedEntryError):
        cache.find(KEY)
    assert cache.find(KEY) is None
    assert keep(cache)["1.so"].read_bytes() == b"code"


def test_a_damaged_entry_of_the_first_server_is_told_as_such(folder: Path) -> None:
    cache = CompileCache(folder)
    keep(cache, b"first")
    (folder / KEY / "digests.json").write_text("{")
    with pytest.raises(DamagedEntryError):
        keep(cache, b"second")


def test_what_nobody_uses_goes_after_a_while(folder: Path) -> None:
    cache = CompileCache(folder)
    keep(cache)
    days = {"1" * 64: 91, "2" * 64: 89, ".staging-killed": 2, ".staging-at-work": 0, KEY: 91}
    for name, age in days.items():
        (folder / name).mkdir(exist_ok=True)
        then = time.time() - age * 86_400
        os.utime(folder / name, (then, then))
    assert cache.find(KEY) is not None  # and so it is in use
    with cache.staging() as staged:
        (staged / "1.so").write_bytes(b"code")
        cache.keep("3" * 64, {"1.so": staged / "1.so"})
    left = {path.name for path in folder.iterdir()}
    assert left == {KEY, "2" * 64, "3" * 64, ".staging-at-work"}


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    cache = CompileCache(folder)
    keep(cache)
    for loose in (folder, folder.parent):
        mode = loose.stat().st_mode
        loose.chmod(0o777)
        with pytest.raises(CacheError, match=f"{loose} "):
            cache.find(KEY)
        loose.chmod(mode)
    assert cache.find(KEY) is not None


def test_a_volume_that_the_operator_vouches_for_may_be_writable(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    cache = CompileCache(folder, checked=False)
    assert cache.find(KEY) is None
    assert keep(cache)["1.so"].read_bytes() == b"code"
    (folder / KEY / "1.so").write_bytes(b"coda")
    with pytest.raises(DamagedEntryError):  # digests are checked all the same
        cache.find(KEY)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="file"):
        CompileCache(tmp_path / "file" / "cache").find(KEY)
