"""Follows the repository: loads what it should, unloads what it should no longer.

It looks again and again instead of waiting for the kernel's word (inotify): a look costs
microseconds, and works on network file systems and volumes where no word ever comes.

A version that failed is tried again when its files change, and otherwise after ever longer
breaks: a disk that was away comes back, a broken file stays broken.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.errors import RepositoryError
from models.repository import Fingerprint, ModelRepository
from server.catalog.catalog import Catalog
from server.catalog.entry import Entry, State
from server.catalog.loading import Loader
from server.catalog.policy import VersionPolicy

log = logging.getLogger(__name__)

_FIRST_BREAK_S = 60.0
_LONGEST_BREAK_S = 3600.0


@dataclass(frozen=True)
class Folder:
    """One model's folder at a glance.

    Attributes:
        versions: What the files of each version looked like.
        labels: Of the repository.
        misplaced: Why what has a version's name is none.
    """

    versions: Mapping[int, Fingerprint]
    labels: Mapping[str, int]
    misplaced: Mapping[int, str]


@dataclass(frozen=True)
class _Failure:
    fingerprint: Fingerprint
    retry_at: float
    break_s: float


class Follower:
    """Keeps the catalog as the repository says.

    Args:
        repository: What to look at.
        catalog: What is loaded.
        loader: Brings versions in and out.
        policy_of: Which versions of a model are wanted.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        repository: ModelRepository,
        catalog: Catalog,
        loader: Loader,
        policy_of: Callable[[str], VersionPolicy],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository = repository
        self._catalog = catalog
        self._loader = loader
        self._policy_of = policy_of
        self._clock = clock
        self._failures: dict[tuple[str, int], _Failure] = {}
        self._complaints: dict[str, str] = {}
        self._one_at_a_time = asyncio.Lock()

    async def run(self, interval_s: float) -> None:
        """Look every ``interval_s`` seconds until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.look()
            except Exception:  # whatever it was, what is served goes on
                log.exception("the repository could not be followed")

    async def look(self) -> None:
        """Look once: load and unload until the catalog is as the repository says."""
        async with self._one_at_a_time:
            for name in await self._names():
                folder = await asyncio.to_thread(self._glance, name)
                if folder is not None and not self._catalog.closed:
                    await self._follow(name, folder)

    async def _names(self) -> list[str]:
        try:
            names = await asyncio.to_thread(self._repository.models)
        except RepositoryError as error:
            self._complain("", f"the repository cannot be read; what is loaded stays: {error}")
            return []
        self._complain("", "")
        return names

    def _glance(self, name: str) -> Folder | None:
        """The folder now; None where it cannot be read."""
        try:
            versions = {
                version: self._repository.fingerprint(name, version)
                for version in self._repository.versions(name)
            }
            misplaced = self._repository.misplaced(name)
        except RepositoryError as error:
            self._complain(name, f"{name} cannot be read; what is loaded stays: {error}")
            return None
        try:
            labels = self._repository.labels(name)
        except RepositoryError as error:
            self._complain(name, f"version labels stay as they were: {error}")
            labels = dict(self._catalog.repository_labels(name))
        else:
            self._complain(name, "")
        return Folder(versions, labels, misplaced)

    async def _follow(self, name: str, folder: Folder) -> None:
        for version, reason in folder.misplaced.items():
            known = self._catalog.versions(name).get(version)
            if known is None or (known.state is State.FAILED and known.reason != reason):
                self._loader.fail(name, version, reason)
        self._forget_what_left(name, folder)
        while missing := self._wanted(name, folder) - set(self._catalog.ready(name)):
            # The newest first: it is the one that requests wait for.
            await self._try(name, max(missing), folder.versions[max(missing)])
            if self._catalog.closed:
                return
        self._move_labels(name, folder.labels)
        await self._unload_all_but(name, self._wanted(name, folder))

    def _wanted(self, name: str, folder: Folder) -> set[int]:
        loadable = {
            version
            for version, fingerprint in folder.versions.items()
            if self._may_be_tried(name, version, fingerprint)
        }
        route = self._catalog.route(name)
        in_use = {*folder.labels.values(), *self._catalog.labels(name).values()}
        tried = {share.version for share in (route.canary, route.shadow) if share is not None}
        if tried:  # what they are compared with stays, however old
            ready, labels = self._catalog.ready(name), self._catalog.labels(name)
            in_use |= tried | {route.default(ready, labels) or 0}
        settled = loadable - route.held_back or loadable
        return self._policy_of(name).wanted(settled, in_use) | (in_use & loadable)

    def _move_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Point the repository's labels where they should; none to a version that is not READY
        as long as it points to one that is."""
        ready = self._catalog.ready(name)
        now = self._catalog.repository_labels(name)
        moved = {
            label: version if version in ready or now.get(label) not in ready else now[label]
            for label, version in labels.items()
        }
        self._catalog.set_repository_labels(name, moved)

    def _may_be_tried(self, name: str, version: int, fingerprint: Fingerprint) -> bool:
        failure = self._failures.get((name, version))
        if failure is None or failure.fingerprint != fingerprint:
            return True
        return self._clock() >= failure.retry_at

    async def _try(self, name: str, version: int, fingerprint: Fingerprint) -> None:
        entry = await self._loader.load(name, version)
        if entry.state is not State.FAILED:
            self._failures.pop((name, version), None)
            return
        last = self._failures.get((name, version))
        same = last is not None and last.fingerprint == fingerprint
        break_s = min(2 * last.break_s, _LONGEST_BREAK_S) if last and same else _FIRST_BREAK_S
        self._failures[name, version] = _Failure(fingerprint, self._clock() + break_s, break_s)

    async def _unload_all_but(self, name: str, wanted: set[int]) -> None:
        """Unload what is not wanted, once something that is wanted has taken its place."""
        if not wanted & set(self._catalog.ready(name)):
            return
        for entry in list(self._catalog.versions(name).values()):
            if entry.state is State.READY and entry.version not in wanted:
                await self._loader.unload(entry)

    def _forget_what_left(self, name: str, folder: Folder) -> None:
        """Versions that failed and whose files have gone are not spoken of any more."""
        there = {*folder.versions, *folder.misplaced}
        gone: list[Entry] = [
            entry
            for entry in self._catalog.versions(name).values()
            if entry.state is State.FAILED and entry.version not in there
        ]
        for entry in gone:
            self._failures.pop((name, entry.version), None)
            self._loader.forget(entry)

    def _complain(self, subject: str, complaint: str) -> None:
        """Log a complaint once, not at every look."""
        if complaint and self._complaints.get(subject) != complaint:
            log.error(complaint)
        self._complaints[subject] = complaint
