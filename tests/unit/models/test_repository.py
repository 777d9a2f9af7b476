"""Publishing, reading and pruning, by one process, by several, and by some that are killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.artifact import read_artifact
from models.errors import ArtifactError, ManifestError, RepositoryError
from models.manifest import MANIFEST_NAME
from models.repository import LABELS_NAME, ModelRepository
from tests.artifacts import file_entry, publish_tiny_artifact, tiny_manifest
from tests.unit.models.publisher import MODEL, publish

REPOSITORY_ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


@pytest.fixture
def repository(root):
    return ModelRepository(root)


def names(root):
    """Everything in the model's folder."""
    return {path.name for path in (root / MODEL).iterdir()}


def manifest_of(version, name=MODEL):
    files = {"model.pt": file_entry(b"model"), "golden.npz": file_entry(b"golden")}
    return tiny_manifest(files, name=name, version=version)


def write(folder):
    (folder / "model.pt").write_bytes(b"model")
    (folder / "golden.npz").write_bytes(b"golden")
    return manifest_of


# Names and folders


def test_the_root_must_be_a_folder(tmp_path):
    with pytest.raises(RepositoryError, match="is not a folder"):
        ModelRepository(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="is not a folder"):
        ModelRepository(tmp_path / "file")


def test_an_empty_repository(repository):
    assert repository.models() == []
    assert repository.versions(MODEL) == []
    assert repository.labels(MODEL) == {}
    with pytest.raises(RepositoryError, match="no version 1"):
        repository.read(MODEL, 1)


BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc",
    "a\\b",
    "a\0",
    "a\n",
    "\n",
    "Tiny",
    "-a",
    ".hidden",
    "tiny ",
    "tïny",
    "a" * 64,
    "a" * 10_000,
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=[ascii(name[:12]) for name in BAD_NAMES])
@pytest.mark.parametrize(
    "use",
    [
        lambda repository, name: repository.versions(name),
        lambda repository, name: repository.labels(name),
        lambda repository, name: repository.read(name, 1),
        lambda repository, name: repository.prune(name, keep=1),
        lambda repository, name: repository.publish(name, pytest.fail, pytest.fail),
    ],
    ids=["versions", "labels", "read", "prune", "publish"],
)
def test_bad_names_are_refused_everywhere(root, repository, name, use):
    with pytest.raises(RepositoryError, match="model name must match"):
        use(repository, name)
    assert list(root.iterdir()) == []
    assert list(root.parent.iterdir()) == [root]


def test_versions_are_folders_named_by_plain_numbers(root, repository):
    for name in ("3", "10", "2", "0", "01", "-1", "1.5", "٣", "4\n", "x", ".5", "9" * 19):
        (root / MODEL / name).mkdir(parents=True)
    (root / MODEL / "7").touch()
    assert repository.versions(MODEL) == [2, 3, 10]


def test_models_are_those_with_versions(root, repository):
    for folder in ("b/1", "a/2", "empty", "labelled/x", "UPPER/1", ".hidden/1", "line\n/1"):
        (root / folder).mkdir(parents=True)
    (root / "file").touch()
    assert repository.models() == ["a", "b"]


def test_links_are_no_models_and_no_versions(root, repository, tmp_path):
    outside = tmp_path / "outside"
    (outside / "1").mkdir(parents=True)
    (outside / LABELS_NAME).write_text('{"stable": 1}')
    (root / "linked").symlink_to(outside)
    (root / MODEL).mkdir()
    (root / MODEL / "1").symlink_to(outside / "1")
    assert repository.models() == []
    assert repository.versions("linked") == repository.versions(MODEL) == []
    assert repository.labels("linked") == {}
    with pytest.raises(RepositoryError, match="no version 1"):
        repository.read("linked", 1)
    with pytest.raises(RepositoryError, match="no version 1"):
        repository.read(MODEL, 1)


def test_nothing_is_written_through_a_link(root, repository, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / MODEL).symlink_to(outside)
    with pytest.raises(RepositoryError, match="is a link"):
        publish(repository)
    with pytest.raises(RepositoryError, match="no model"):
        repository.prune(MODEL, keep=1)
    assert list(outside.iterdir()) == []


def test_a_linked_lock_is_not_opened(root, repository, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    (root / MODEL).mkdir()
    (root / MODEL / ".lock").symlink_to(precious)
    with pytest.raises(RepositoryError, match="cannot be written"):
        publish(repository)
    assert precious.read_text() == "keep me"


# Publishing


def test_versions_count_from_1(root, repository):
    assert publish_tiny_artifact(root) == 1
    assert publish_tiny_artifact(root) == 2
    assert repository.models() == [MODEL]
    assert repository.versions(MODEL) == [1, 2]
    artifact = repository.read(MODEL, 2)
    assert (artifact.manifest.name, artifact.manifest.version) == (MODEL, 2)
    assert names(root) == {"1", "2", ".lock"}


def test_a_published_version_can_be_read_by_others(root, repository):
    old = os.umask(0o077)
    try:
        publish(repository)
    finally:
        os.umask(old)
    assert (root / MODEL / "1").stat().st_mode & 0o777 == 0o755


def test_the_next_version_is_above_whatever_has_a_number(root, repository, tmp_path):
    (root / MODEL).mkdir()
    (root / MODEL / "4").symlink_to(tmp_path)
    assert publish(repository) == 5
    (root / MODEL / "7").touch()
    assert publish(repository) == 8
    (root / MODEL / "0012").mkdir()
    assert publish(repository) == 13


def test_nobody_sees_a_version_before_it_is_published(repository):
    seen = []

    def look():
        seen.append((repository.versions(MODEL), repository.models()))

    def build(folder):
        look()
        return write(folder)

    def check(folder):
        look()
        assert (folder / MANIFEST_NAME).exists()

    assert repository.publish(MODEL, build, check) == 1
    assert seen == [([], []), ([], [])]
    assert repository.versions(MODEL) == [1]


def test_everything_is_synced_before_the_rename(monkeypatch, root, repository):
    events = []
    fsync, rename = os.fsync, Path.rename

    def recorded_fsync(descriptor):
        events.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def recorded_rename(path, target):
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    repository.publish(MODEL, write, lambda _: None)
    version = root / MODEL / "1"
    before = set(events[: events.index("rename")])
    after = events[events.index("rename") + 1 :]
    assert {path.stat().st_ino for path in (version, *version.iterdir())} <= before
    assert root.stat().st_ino in before
    assert after == [(root / MODEL).stat().st_ino]


class RefusedError(Exception):
    pass


def refuse(*_):
    raise RefusedError


@pytest.mark.parametrize(
    ("build", "check"),
    [(refuse, refuse), (lambda folder: write(folder) and refuse, refuse), (write, refuse)],
    ids=["build", "seal", "check"],
)
def test_a_publication_that_fails_leaves_nothing(root, repository, build, check):
    publish(repository)
    with pytest.raises(RefusedError):
        repository.publish(MODEL, build, check)
    assert names(root) == {"1", ".lock"}
    assert publish(repository) == 2


def test_an_artifact_that_does_not_verify_is_not_published(root, repository):
    def wrong_bytes(folder):
        seal = write(folder)
        (folder / "model.pt").write_bytes(b"other")
        return seal

    with pytest.raises(ArtifactError):
        repository.publish(MODEL, wrong_bytes, lambda folder: read_artifact(folder, staged=True))
    assert names(root) == {".lock"}


@pytest.mark.parametrize(
    "seal",
    [lambda version: manifest_of(version + 1), lambda version: manifest_of(version, name="other")],
    ids=["version", "name"],
)
def test_a_manifest_of_something_else_is_not_published(root, repository, seal):
    with pytest.raises(RepositoryError, match=r"the manifest is of .* not of tiny version 1"):
        repository.publish(MODEL, lambda folder: write(folder) and seal, lambda _: None)
    assert names(root) == {".lock"}


def test_a_full_disk_is_a_repository_error(monkeypatch, root, repository):
    publish(repository)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RepositoryError, match=r"cannot be written: .*No space left"):
            publish(repository)
    assert names(root) == {"1", ".lock"}
    assert publish(repository) == 2


def test_a_model_folder_that_cannot_be_made(root, repository):
    (root / MODEL).touch()
    with pytest.raises(RepositoryError, match="cannot be written"):
        publish(repository)
    shutil.rmtree(root)
    with pytest.raises(RepositoryError, match="cannot be written"):
        publish(repository)
    with pytest.raises(RepositoryError, match="cannot be listed"):
        repository.models()


def test_a_read_names_the_damage(root, repository):
    publish(repository)
    (root / MODEL / "1" / MANIFEST_NAME).unlink()
    with pytest.raises(ManifestError):
        repository.read(MODEL, 1)


# Labels


def label(root, content):
    (root / MODEL / LABELS_NAME).write_text(content)


def test_labels(root, repository):
    publish(repository)
    publish(repository)
    label(root, '{"stable": 1, "canary": 2}')
    assert repository.labels(MODEL) == {"stable": 1, "canary": 2}


BAD_LABELS = [
    "",
    "{",
    "[]",
    "null",
    '"stable"',
    "\ud800",
    "[" * 100_000,
    '{"stable": 9}',
    '{"stable": "1"}',
    '{"stable": 1.0}',
    '{"stable": true}',
    '{"stable": null}',
    '{"stable": [1]}',
    '{"stable": -1}',
    '{"stable": NaN}',
    '{"stable": ' + "9" * 5000 + "}",
    '{"Stable": 1}',
    '{"": 1}',
    '{"stable\\n": 1}',
    '{"1": 1}',
    '{"../x": 1}',
    json.dumps({"a" * 64: 1}),
]


@pytest.mark.parametrize("content", BAD_LABELS, ids=[ascii(text[:16]) for text in BAD_LABELS])
def test_malformed_labels(root, repository, content):
    publish(repository)
    (root / MODEL / LABELS_NAME).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(RepositoryError, match=r"labels\.json"):
        repository.labels(MODEL)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("nothing"),
        lambda path: (path.touch(), os.truncate(path, 2**40)),
    ],
    ids=["pipe", "folder", "link", "huge"],
)
def test_labels_that_are_no_file(root, repository, make):
    publish(repository)
    make(root / MODEL / LABELS_NAME)
    with pytest.raises(RepositoryError, match=r"labels\.json"):
        repository.labels(MODEL)


# Pruning


def versions_up_to(root, count):
    for version in range(1, count + 1):
        (root / MODEL / str(version)).mkdir(parents=True)


@pytest.mark.parametrize(
    ("keep", "removed"), [(1, [1, 2, 3]), (3, [1]), (4, []), (5, []), (7, []), (100, [])]
)
def test_prune_keeps_the_newest(root, repository, keep, removed):
    versions_up_to(root, 4)
    assert repository.prune(MODEL, keep=keep) == removed
    assert repository.versions(MODEL) == [v for v in range(1, 5) if v not in removed]
    assert not {str(version) for version in removed} & names(root)


def test_prune_keeps_what_is_pinned_or_labelled(root, repository):
    versions_up_to(root, 6)
    label(root, '{"stable": 2}')
    assert repository.prune(MODEL, keep=1, pinned=[4, 99]) == [1, 3, 5]
    assert repository.versions(MODEL) == [2, 4, 6]
    assert names(root) == {"2", "4", "6", LABELS_NAME, ".lock"}


@pytest.mark.parametrize("keep", [0, -1])
def test_prune_keeps_one_at_least(root, repository, keep):
    versions_up_to(root, 2)
    with pytest.raises(RepositoryError, match="at least one"):
        repository.prune(MODEL, keep=keep)
    assert repository.versions(MODEL) == [1, 2]


def test_prune_removes_nothing_when_the_labels_are_malformed(root, repository):
    versions_up_to(root, 3)
    label(root, "{")
    with pytest.raises(RepositoryError):
        repository.prune(MODEL, keep=1)
    assert repository.versions(MODEL) == [1, 2, 3]


def test_prune_of_an_unknown_model(root, repository):
    with pytest.raises(RepositoryError, match="no model"):
        repository.prune(MODEL, keep=1)
    assert list(root.iterdir()) == []


def test_numbers_are_not_used_again_after_pruning(repository):
    for _ in range(3):
        publish(repository)
    repository.prune(MODEL, keep=1)
    assert publish(repository) == 4


def test_what_a_killed_prune_left_is_swept_away(root, repository):
    versions_up_to(root, 2)
    (root / MODEL / ".staging-removed-1" / "full").mkdir(parents=True)
    assert repository.versions(MODEL) == [1, 2]
    assert repository.prune(MODEL, keep=1) == [1]
    assert names(root) == {"2", ".lock"}


# Several publishers


class Publisher:
    """A process that runs ``publisher.py``."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.unit.models.publisher"],
            cwd=REPOSITORY_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().split()

    def kill(self):
        self.process.kill()
        self.process.communicate()


class Publishers:
    """Keeps processes for the next test: to start one takes seconds."""

    def __init__(self):
        self.all = []

    def living(self, count):
        """So many that live, more started when there are too few."""
        living = [publisher for publisher in self.all if publisher.process.poll() is None]
        new = [Publisher() for _ in range(count - len(living))]
        self.all += new
        for publisher in new:
            assert publisher.hear() == ["ready"]
        return (living + new)[:count]


@pytest.fixture(scope="module")
def publishers():
    started = Publishers()
    yield started
    for publisher in started.all:
        publisher.kill()


def test_publishers_at_the_same_time_get_versions_of_their_own(root, repository, publishers):
    three = publishers.living(3)
    for publisher in three:
        publisher.tell("publish", root, 5)
    heard = [[int(word) for word in publisher.hear()] for publisher in three]
    assert sorted(version for versions in heard for version in versions) == list(range(1, 16))
    assert all(versions == sorted(versions) for versions in heard)
    assert names(root) == {".lock", *(str(version) for version in range(1, 16))}
    for version in repository.versions(MODEL):
        assert repository.read(MODEL, version).manifest.version == version


def test_what_another_builds_survives_a_publication(root, repository, publishers):
    (slow,) = publishers.living(1)
    slow.tell("pause", root, "build")
    assert slow.hear() == ["paused"]
    assert publish(repository) == 1
    slow.tell("go on")
    assert slow.hear() == ["2"]
    assert names(root) == {"1", "2", ".lock"}
    repository.read(MODEL, 2)


def test_what_another_builds_survives_a_prune(root, repository, publishers):
    versions_up_to(root, 3)
    (slow,) = publishers.living(1)
    slow.tell("pause", root, "build")
    assert slow.hear() == ["paused"]
    assert repository.prune(MODEL, keep=1) == [1, 2]
    slow.tell("go on")
    assert slow.hear() == ["4"]
    repository.read(MODEL, 4)


@pytest.mark.parametrize("where", ["build", "seal", "check"])
def test_a_killed_publisher(root, repository, publishers, where):
    assert publish(repository) == 1
    (killed,) = publishers.living(1)
    killed.tell("pause", root, where)
    assert killed.hear() == ["paused"]
    killed.kill()
    (left,) = names(root) - {"1", ".lock"}
    assert left.startswith(".staging-")
    assert repository.versions(MODEL) == [1]
    assert publish(repository) == 2
    assert names(root) == {"1", "2", ".lock"}
    repository.read(MODEL, 2)
