"""What an administrator may change while requests flow. Names models, versions and labels of the
repository that the server was started with, and nothing else."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from models.errors import RepositoryError
from models.manifest import NAME_PATTERN
from models.repository import LABEL_PATTERN, ModelRepository
from server.catalog.catalog import Catalog
from server.catalog.entry import Entry, State
from server.catalog.follow import Follower
from server.catalog.loading import Loader
from server.catalog.policy import LATEST, VersionPolicy
from server.catalog.routes import Share
from server.errors import InvalidRequestError, LoadFailedError, NotFoundError, PreconditionError

log = logging.getLogger(__name__)


class Control:
    """Loads, unloads and directs traffic by call.

    Args:
        repository: What may be loaded.
        catalog: What is.
        loader: Brings versions in and out.
        follower: Follows the repository; None: calls alone say what is loaded.
        policy_of: Which versions of a model are wanted when a call names none.
        settled: Returns when what was set is written, where it is to survive a restart.
    """

    def __init__(
        self,
        repository: ModelRepository,
        catalog: Catalog,
        loader: Loader,
        follower: Follower | None,
        policy_of: Callable[[str], VersionPolicy],
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._settled = settled
        self._repository = repository
        self._catalog = catalog
        self._loader = loader
        self._follower = follower
        self._policy_of = policy_of

    async def load(self, name: str, version: int | None = None) -> list[Entry]:
        """Load a version; without one, those of the model's policy, which then replace the rest.

        Returns:
            What was to be loaded, READY, newest first.

        Raises:
            InvalidRequestError: The name is none.
            NotFoundError: The repository has no such model or version.
            PreconditionError: The server follows its repository.
            LoadFailedError: A version failed; what was loaded stays.
        """
        self._by_call_only()
        there = await self._versions_there(name)
        if version is not None and version not in there:
            raise NotFoundError("version", f"is not in the repository: {version}")
        chosen = {version} if version is not None else self._policy_of(name).wanted(there)
        entries = [await self._loader.load(name, each) for each in sorted(chosen, reverse=True)]
        failed = [entry for entry in entries if entry.state is State.FAILED]
        if failed:
            reasons = "; ".join(f"version {entry.version}: {entry.reason}" for entry in failed)
            raise LoadFailedError(f"{name} {reasons}")
        await self._take_repository_labels(name)
        if version is None:
            kept = chosen | set(self._catalog.labels(name).values())
            await self._unload(name, set(self._catalog.ready(name)) - kept)
        return entries

    async def settled(self) -> None:
        """Return when what was set is written, where it is to survive a restart."""
        if self._settled is not None:
            await self._settled()

    async def unload(self, name: str, version: int | None = None) -> None:
        """Unload a version, or all of the model, once what it accepted is answered.

        Raises:
            NotFoundError: It is not loaded.
            PreconditionError: The server follows its repository.
        """
        self._by_call_only()
        versions = self._catalog.versions(name)
        if not versions:
            raise NotFoundError("name", f"names no model of this server: {name[:64]!a}")
        if version is not None and version not in versions:
            raise NotFoundError("version", f"is not loaded: {version}")
        await self._unload(name, set(versions) if version is None else {version})

    def set_label(self, name: str, label: str, version: int | None) -> None:
        """Point a label at a version, from the next request on; None: as the repository says.

        Raises:
            InvalidRequestError: The label is none, or "latest".
            NotFoundError: There is no such model or version.
            PreconditionError: The version does not take requests.
        """
        if label == LATEST or not re.fullmatch(LABEL_PATTERN, label):
            raise InvalidRequestError("label", f"must match {LABEL_PATTERN} and not be {LATEST!r}")
        route = self._catalog.route(name)
        labels = {key: value for key, value in route.labels.items() if key != label}
        if version is not None:
            labels[label] = self._ready(name, version).version
        elif not self._catalog.versions(name):
            raise NotFoundError("name", f"names no model of this server: {name[:64]!a}")
        self._catalog.set_route(name, replace(route, labels=labels))
        log.info("label set", extra={"fields": {"model": name, "label": label, "version": version}})

    def set_canary(self, name: str, version: int, share: float) -> None:
        """Send a share of the requests that name no version to this one; 0: none any more.

        A version that was rolled back is thereby given another chance.

        Raises:
            NotFoundError: There is no such model or version.
            PreconditionError: The version does not take requests, or no other one does.
        """
        canary = self._share(name, version, share)
        route = self._catalog.route(name)
        held = route.held_back - {version} if canary is not None else route.held_back
        route = replace(route, canary=canary, held_back=held)
        self._leaves_another(name, canary)
        self._catalog.set_route(name, route)
        log.info("canary set", extra={"fields": _fields(name, version, share)})

    def set_shadow(self, name: str, version: int | None, share: float) -> None:
        """Send copies of a share of the requests to this version; 0: none any more.

        Raises:
            NotFoundError: There is no such model or version.
            PreconditionError: The version does not take requests, or no other one does.
        """
        if version is None:
            if not self._catalog.versions(name):
                raise NotFoundError("name", f"names no model of this server: {name[:64]!a}")
            shadow = None
        else:
            shadow = self._share(name, version, share)
        self._leaves_another(name, shadow)
        self._catalog.set_route(name, replace(self._catalog.route(name), shadow=shadow))
        log.info("shadow set", extra={"fields": _fields(name, version, share)})

    async def roll_back(self, name: str) -> Entry:
        """End the canary; where there is none, return to the version before the default one.

        A version that is loaded takes over with the next request; another one is loaded first.
        What was rolled back is no default again, until the server starts anew; a newer
        version is.

        Returns:
            The default version from now on.

        Raises:
            NotFoundError: There is no such model.
            PreconditionError: There is no version before.
            LoadFailedError: It could not be loaded; nothing has changed.
        """
        route = self._catalog.route(name)
        default = self._default(name)
        if route.canary is not None:
            held = route.held_back | {route.canary.version}
            self._catalog.set_route(name, replace(route, canary=None, held_back=held))
            return self._told(name, route.canary.version)
        before = [number for number in self._catalog.ready(name) if number < default]
        before = [number for number in before if number not in route.held_back]
        target = max(before) if before else await self._load_one_before(name, default)
        route = self._catalog.route(name)  # loading took its time
        labels = dict(route.labels)
        if route.default_label != LATEST:
            labels[route.default_label] = target
        held = route.held_back | {default}
        self._catalog.set_route(name, replace(route, labels=labels, held_back=held))
        return self._told(name, default)

    def _told(self, name: str, left: int) -> Entry:
        now = self._catalog.versions(name)[self._default(name)]
        fields = {"model": name, "from_version": left, "to_version": now.version}
        log.warning("rolled back", extra={"fields": fields})
        return now

    async def _load_one_before(self, name: str, default: int) -> int:
        held = self._catalog.route(name).held_back
        there = [number for number in await self._versions_there(name) if number < default]
        there = [number for number in there if number not in held]
        if not there:
            raise PreconditionError(f"{name} has no version before {default}")
        entry = await self._loader.load(name, max(there))
        if entry.state is State.FAILED:
            raise LoadFailedError(f"{name} version {entry.version}: {entry.reason}")
        return entry.version

    def _default(self, name: str) -> int:
        ready = self._catalog.ready(name)
        default = self._catalog.route(name).default(ready, self._catalog.labels(name))
        if default is None:
            raise NotFoundError("name", f"has no version that takes requests: {name[:64]!a}")
        return default

    def _share(self, name: str, version: int, share: float) -> Share | None:
        entry = self._ready(name, version)
        return Share(entry.version, share) if share > 0 else None

    def _leaves_another(self, name: str, share: Share | None) -> None:
        if share is not None and not set(self._catalog.ready(name)) - {share.version}:
            raise PreconditionError(f"{name} has no other version to compare {share.version} with")

    def _ready(self, name: str, version: int) -> Entry:
        entry = self._catalog.versions(name).get(version)
        if entry is None:
            raise NotFoundError("version", f"is not loaded: {name[:64]!a} {version}")
        if entry.state is not State.READY:
            raise PreconditionError(f"{name} version {version} is {entry.state}")
        return entry

    async def _versions_there(self, name: str) -> list[int]:
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidRequestError("name", f"must match {NAME_PATTERN}")
        try:
            versions = await asyncio.to_thread(self._repository.versions, name)
        except RepositoryError as error:
            raise PreconditionError("the repository cannot be read") from error
        if not versions:
            raise NotFoundError("name", f"is not in the repository: {name}")
        return versions

    async def _take_repository_labels(self, name: str) -> None:
        try:
            labels = await asyncio.to_thread(self._repository.labels, name)
        except RepositoryError as error:
            log.error("version labels stay as they were: %s", error)  # noqa: TRY400 - says it all
            return
        ready = self._catalog.ready(name)
        labels = {label: version for label, version in labels.items() if version in ready}
        self._catalog.set_repository_labels(name, labels)

    async def _unload(self, name: str, versions: set[int]) -> None:
        for version in sorted(versions):
            entry = self._catalog.versions(name).get(version)
            if entry is not None and entry.state in (State.READY, State.FAILED):
                await self._loader.unload(entry)

    def _by_call_only(self) -> None:
        if self._follower is not None:
            raise PreconditionError(
                "the server follows its repository; to load by call, start it with"
                " model_control explicit"
            )


def _fields(name: str, version: int | None, share: float) -> dict[str, object]:
    return {"model": name, "version": version, "share": share}
