"""A local copy of the versions of a store that are wanted: verified, bounded, safe to share.

A version is fetched beside, held against the sizes and digests of its manifest (and the
signature, where a key is given), and gets its number in one rename: ``cache`` is a model
repository like any other, and what follows it need not know of the store. Several processes may
share it: one fetches while the others wait, and what one of them uses none removes for lack of
room. Without the store, what is there stays.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import IntegrityError, ModelsError, RepositoryError, StoreError
from models.leases import Key, Leases
from models.listing import Listing, Remote
from models.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from models.repository import LABELS_NAME, MAX_LABELS_BYTES, ModelRepository, parse_labels
from models.signature import MAX_SIGNATURE_BYTES, SIGNATURE_NAME

if TYPE_CHECKING:
    from models.stores import Store  # needs an extra

_FIRST_BREAK_S = 60.0
_LONGEST_BREAK_S = 3600.0

Wanted = Callable[[str, Collection[int], Collection[int]], set[int]]
VersionFiles = Mapping[str, Remote]


class Event(StrEnum):
    """What became of a version."""

    FETCHED = "fetched"
    REFUSED = "refused"
    LABELS_REFUSED = "labels_refused"  # of all versions: they stay as they were
    WITHDRAWN = "withdrawn"  # it has gone from the store
    EVICTED = "evicted"  # for lack of room


Tell = Callable[[Event, str, int, str], None]


@dataclass(frozen=True)
class _Refusal:
    """Why a version was refused, what its files looked like, and when to try again."""

    reason: str
    files: VersionFiles
    retry_at: float
    break_s: float


class Mirror:
    """Keeps ``cache`` as the store says.

    Args:
        store: What to follow.
        cache: A model repository; nobody else writes it.
        leases: What processes that share ``cache`` use.
        wanted: Of a model, out of those versions, and with those labelled, what to have here.
        budget_bytes: For all versions in ``cache``.
        tell: Told what becomes of each version: event, model, version, reason.
        go_on: Asked while fetching; once it says no, everything ends with a StoreError.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        store: "Store",
        cache: ModelRepository,
        leases: Leases,
        wanted: Wanted,
        budget_bytes: int,
        tell: Tell = lambda *_: None,
        go_on: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._cache = cache
        self._leases = leases
        self._wanted = wanted
        self._budget_bytes = budget_bytes
        self._tell = tell
        self._go_on = go_on
        self._clock = clock
        self._refusals: dict[Key, _Refusal] = {}
        self._labels: dict[str, tuple[tuple[Remote, list[int]], dict[str, int]]] = {}
        self.listing: Listing | None = None

    def refresh(self) -> None:
        """Look at the store once and fetch what is missing. Not thread-safe.

        Raises:
            StoreError: The store cannot be followed; what is in the cache stays.
            RepositoryError: The cache cannot be written.
        """
        self.listing = listing = self.store.listing()
        for key in self._refusals.keys() - _keys(listing):  # a call may take one out meanwhile
            self._refusals.pop(key, None)
        for model, versions in listing.versions.items():
            self._follow(model, versions, self._labels_of(model, listing))

    def refusals(self, model: str) -> dict[int, str]:
        """Why versions of ``model`` that the store has were not taken in."""
        refusals = dict(self._refusals)
        return {key[1]: refusal.reason for key, refusal in refusals.items() if key[0] == model}

    def refused_models(self) -> set[str]:
        """Models with such versions."""
        return {model for model, _ in dict(self._refusals)}

    def cached_bytes(self) -> int:
        """Size of all versions in the cache.

        Raises:
            RepositoryError: It cannot be read.
        """
        return sum(self._size(key) for key in self._cached())

    def bring(self, model: str, version: int) -> None:
        """Have a version here that may not be wanted by itself, for a call that names it.

        Raises:
            RepositoryError: There is no such version, or the cache cannot be written.
            ArtifactError: It fails its verification.
        """
        if version in self._cache.versions(model):
            return
        files = self.listing.versions.get(model, {}).get(version) if self.listing else None
        if files is None:
            raise RepositoryError(f"model {model} has no version {version}")
        self._fetch((model, version), files)

    def _follow(
        self, model: str, versions: Mapping[int, VersionFiles], labels: Mapping[str, int]
    ) -> None:
        while True:
            wanted = self._wanted_of(model, versions, labels)
            missing = wanted - set(self._cache.versions(model))
            if not missing:
                break
            # What served so far is held until all that is wanted is here.
            self._leases.hold(self._leases.held | {(model, version) for version in wanted})
            # The newest first; where it is refused, the next older one may be wanted.
            self._try((model, max(missing)), versions[max(missing)])
        if not wanted:
            return
        others = {key for key in self._leases.held if key[0] != model}
        self._leases.hold(others | {(model, version) for version in wanted})
        for version in set(self._cache.versions(model)) - versions.keys():
            self._remove((model, version), Event.WITHDRAWN)
        self._point_labels(model, labels)

    def _wanted_of(
        self, model: str, versions: Mapping[int, VersionFiles], labels: Mapping[str, int]
    ) -> set[int]:
        here = self._cache.versions(model)
        candidates = [
            version
            for version, files in versions.items()
            if version in here or self._may_be_tried((model, version), files)
        ]
        return self._wanted(model, candidates, set(labels.values())) & set(candidates)

    def _may_be_tried(self, key: Key, files: VersionFiles) -> bool:
        refusal = self._refusals.get(key)
        if refusal is None or refusal.files != files:
            return True
        return self._clock() >= refusal.retry_at

    def _try(self, key: Key, files: VersionFiles) -> None:
        try:
            self._fetch(key, files)
        except StoreError:
            raise  # the store's fault, not the version's
        except ModelsError as error:
            self._refuse(key, files, str(error))

    def _refuse(self, key: Key, files: VersionFiles, reason: str) -> None:
        last = self._refusals.get(key)
        same = last is not None and last.files == files
        break_s = min(2 * last.break_s, _LONGEST_BREAK_S) if last and same else _FIRST_BREAK_S
        self._refusals[key] = _Refusal(reason, files, self._clock() + break_s, break_s)
        self._tell(Event.REFUSED, *key, reason)

    def _fetch(self, key: Key, files: VersionFiles) -> None:
        model, version = key
        with self._leases.alone(key):
            if version in self._cache.versions(model):  # another process was first
                return
            root = f"{model}/{version}"
            data = self.store.read(f"{root}/{MANIFEST_NAME}", MAX_MANIFEST_BYTES)
            manifest = parse_manifest(data)
            _check_whole(manifest, files)
            self._make_room(key, len(data) + sum(_sizes(manifest).values()))

            def fetch(folder: Path) -> None:
                (folder / MANIFEST_NAME).write_bytes(data)
                if SIGNATURE_NAME in files:
                    sign = folder / SIGNATURE_NAME
                    self.store.save(f"{root}/{sign.name}", sign, MAX_SIGNATURE_BYTES, self._go_on)
                for name, size_bytes in _sizes(manifest).items():
                    self.store.save(f"{root}/{name}", folder / name, size_bytes, self._go_on)

            self._cache.receive(model, version, fetch)
            self._leases.touch(key)
        self._refusals.pop(key, None)
        self._tell(Event.FETCHED, model, version, "")

    def _make_room(self, key: Key, need_bytes: int) -> None:
        """Evict what nobody uses, the least recently used first, until ``need_bytes`` fit."""
        sizes = {other: self._size(other) for other in self._cached()}
        free = self._budget_bytes - sum(sizes.values()) - need_bytes
        for other in sorted(sizes, key=self._leases.used_at):
            if free >= 0:
                return
            with self._leases.unused(other) as unused:
                if unused:
                    self._remove(other, Event.EVICTED)
                    free += sizes[other]
        if free < 0:
            raise RepositoryError(
                f"{key[0]} version {key[1]} has {need_bytes} bytes, {-free} more than the cache of"
                f" {self._budget_bytes} bytes has room for beside what is in use"
            )

    def _remove(self, key: Key, event: Event) -> None:
        self._cache.discard(*key)
        self._tell(event, *key, "")

    def _cached(self) -> list[Key]:
        cache = self._cache
        return [(model, version) for model in cache.models() for version in cache.versions(model)]

    def _size(self, key: Key) -> int:
        return sum(size for _, size, _, _ in self._cache.fingerprint(*key))

    def _labels_of(self, model: str, listing: Listing) -> dict[str, int]:
        """The store's labels; those of the cache where they cannot be read."""
        remote = listing.labels.get(model)
        if remote is None:
            return {}
        versions = sorted(listing.versions.get(model, {}))
        seen, known = self._labels.get(model, (None, {}))
        if seen == (remote, versions):
            return known
        data = self.store.read(f"{model}/{LABELS_NAME}", MAX_LABELS_BYTES)
        try:
            labels = parse_labels(data, versions, LABELS_NAME)
        except RepositoryError as error:
            labels = self._cached_labels(model)
            self._tell(Event.LABELS_REFUSED, model, 0, str(error))
        self._labels[model] = (remote, versions), labels
        return labels

    def _point_labels(self, model: str, labels: Mapping[str, int]) -> None:
        """Write the labels; one whose version is not here stays where it was."""
        here, before = self._cache.versions(model), self._cached_labels(model)
        moved = {
            label: version if version in here else before[label]
            for label, version in labels.items()
            if version in here or before.get(label) in here
        }
        if moved != before:
            self._cache.write_labels(model, moved)

    def _cached_labels(self, model: str) -> dict[str, int]:
        try:
            return self._cache.labels(model)
        except RepositoryError:  # one points to a version that has been withdrawn
            return {}


def _keys(listing: Listing) -> set[Key]:
    return {(model, number) for model, numbers in listing.versions.items() for number in numbers}


def _sizes(manifest: Manifest) -> dict[str, int]:
    """By file, its size, the smallest first: what is missing or wrong shows early."""
    sizes = {name: entry.size_bytes for name, entry in manifest.files.items()}
    return dict(sorted(sizes.items(), key=lambda item: item[1]))


def _check_whole(manifest: Manifest, files: VersionFiles) -> None:
    """Before anything is fetched: a version that is being uploaded is not whole yet."""
    for name, size_bytes in _sizes(manifest).items():
        if name not in files:
            raise IntegrityError(f"{name} is not in the store (yet)")
        if files[name].size_bytes != size_bytes:
            raise IntegrityError(
                f"{name} in the store has {files[name].size_bytes} bytes; the manifest says"
                f" {size_bytes}"
            )
