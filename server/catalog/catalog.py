"""The model versions that the server knows, and which one answers a request.

Reads and routes alone: ``loading`` brings versions in and out, ``watch`` and ``control`` decide
which. Everything happens in the event loop, so that each change is one step: a request meets
the state before it or the state after it.
"""

import asyncio
import re
from collections.abc import Callable, Mapping

from models.manifest import VERSION_PATTERN
from server.catalog.entry import Entry, Selection, State
from server.catalog.policy import LATEST
from server.catalog.routes import Draws, Route
from server.catalog.servable import Servable
from server.errors import DrainingError, InvalidRequestError, NotFoundError, NotReadyError
from server.pipeline.decode import DecodePool

Versions = dict[int, Entry]


class Catalog:
    """Resolves requests to model versions.

    Args:
        default_model: For requests that name none; empty: the first by name.
        decoder: Shared by all models.
        default_labels: By model, the label that answers requests that name no version, where it
            is not "latest".
    """

    def __init__(
        self,
        default_model: str,
        decoder: DecodePool,
        default_labels: Mapping[str, str] | None = None,
    ) -> None:
        self._default_model = default_model
        self._decoder = decoder
        self._first_route = Route(LATEST)
        self._first_routes = {
            model: Route(label) for model, label in (default_labels or {}).items()
        }
        self._entries: dict[str, Versions] = {}
        self._labels: dict[str, Mapping[str, int]] = {}
        self._routes: dict[str, Route] = {}
        self._draws = Draws()
        self._copies = Draws()
        self._watchers: list[Callable[[], None]] = []
        self._closed = False

    def on_change(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` whenever a version, a label or a route has changed."""
        self._watchers.append(tell)

    def changed(self) -> None:
        """Put the labels in order and tell those who watch."""
        for name, versions in self._entries.items():
            self._relabel(name, versions)
        for tell in self._watchers:
            tell()

    def add(self, entry: Entry) -> None:
        """Know one more version."""
        self._entries.setdefault(entry.name, {})[entry.version] = entry
        self.changed()

    def remove(self, entry: Entry) -> None:
        """Forget a version, its labels and its share of the traffic."""
        versions = self._entries.get(entry.name, {})
        if versions.get(entry.version) is not entry:
            return
        del versions[entry.version]
        if not versions:
            del self._entries[entry.name]
        self._routes[entry.name] = self.route(entry.name).without(entry.version)
        self.changed()

    def versions(self, name: str) -> Mapping[int, Entry]:
        """What is known of a model."""
        return self._entries.get(name, {})

    def ready(self, name: str) -> list[int]:
        """The versions that take requests, oldest first."""
        versions = self.versions(name).values()
        return sorted(entry.version for entry in versions if entry.state is State.READY)

    def route(self, name: str) -> Route:
        """Where a model's requests go."""
        return self._routes.get(name) or self._first_routes.get(name, self._first_route)

    def routes(self) -> dict[str, Route]:
        """Every route that was set, by model."""
        return dict(self._routes)

    def set_route(self, name: str, route: Route) -> None:
        """Change where they go, from the next request on."""
        self._routes[name] = route
        self.changed()

    def repository_labels(self, name: str) -> Mapping[str, int]:
        """The labels that the repository gave."""
        return self._labels.get(name, {})

    def set_repository_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Take the labels of the repository; those that were set by call come first."""
        if self._labels.get(name, {}) != labels:
            self._labels[name] = dict(labels)
            self.changed()

    def labels(self, name: str) -> dict[str, int]:
        """Where each label of a model points; all but "latest"."""
        return {**self._labels.get(name, {}), **self.route(name).labels}

    def entries(self) -> list[Entry]:
        """Every version, by name and then newest first."""
        return [
            self._entries[name][version]
            for name in sorted(self._entries)
            for version in sorted(self._entries[name], reverse=True)
        ]

    def depths(self) -> dict[tuple[str, str, str], int]:
        """Images that wait, by (model, version, queue)."""
        depths = {("", "", "decode"): self._decoder.depth}
        for entry in self.entries():
            if entry.servable is not None:
                depths[entry.name, str(entry.version), "engine"] = entry.servable.depth
        return depths

    def states(self) -> dict[tuple[str, str], State]:
        """Where each (model, version) stands."""
        return {(entry.name, str(entry.version)): entry.state for entry in self.entries()}

    @property
    def default_name(self) -> str:
        """The model for requests that name none; empty when there is no model."""
        return self._default_model or min(self._entries, default="")

    @property
    def closed(self) -> bool:
        """Whether the server is shutting down: nothing is to be loaded any more."""
        return self._closed

    def is_ready(self) -> bool:
        """Whether a request that names nothing would be served."""
        return bool(self.ready(self.default_name))

    def is_default(self, entry: Entry) -> bool:
        """Whether ``entry`` answers requests that name no version of its model."""
        return entry is self._default(entry.name)

    def resolve(self, selection: Selection) -> Entry:
        """The version that ``selection`` means, in whatever state.

        Raises:
            NotFoundError: There is no such model, version or label.
            InvalidRequestError: The version is not a decimal integer.
        """
        name = selection.name or self.default_name
        versions = self._entries.get(name)
        if versions is None:
            raise NotFoundError("model.name", f"names no model of this server: {name[:64]!a}")
        if selection.label:
            return self._labelled(name, selection.label)
        if selection.version:
            return _numbered(versions, selection.version)
        return self._default(name)

    def servable(self, selection: Selection, *, in_turn: bool = True) -> Servable:
        """The version that ``selection`` means, ready to serve.

        Args:
            selection: What a request asks for.
            in_turn: Whether this is the request itself, which may meet a canary. Whoever only
                asks about it takes nobody's turn there.

        Raises:
            NotFoundError: There is no such model, version or label.
            InvalidRequestError: The version is not a decimal integer.
            NotReadyError: It is loading or failed to load.
            DrainingError: It is going away.
        """
        entry = (in_turn and self._on_trial(selection)) or self.resolve(selection)
        if entry.state is State.DRAINING:
            if self._closed:
                raise DrainingError("the server is shutting down and takes no new requests")
            raise DrainingError(f"{entry.name} version {entry.version} is being unloaded")
        if entry.servable is None or entry.state is not State.READY:
            raise NotReadyError(f"{entry.name} version {entry.version} is {entry.state}")
        return entry.servable

    def shadow_of(self, name: str, version: int) -> Servable | None:
        """The version that is to have a copy of a request, if this one's is to be copied.

        Args:
            name: The model.
            version: That answered.
        """
        shadow = self.route(name).shadow
        if shadow is None or shadow.version == version:
            return None
        entry = self.versions(name).get(shadow.version)
        if entry is None or entry.state is not State.READY:
            return None
        return entry.servable if self._copies.draw(name, "") < shadow.share else None

    async def drain(self) -> None:
        """Answer what was accepted and take nothing new."""
        self._closed = True
        ready = [entry for entry in self.entries() if entry.state is State.READY]
        for entry in ready:
            entry.state = State.DRAINING
        await asyncio.gather(*(entry.servable.drain() for entry in ready if entry.servable))

    def _default(self, name: str) -> Entry:
        """The default version, or the newest when none is READY."""
        versions = self._entries[name]
        version = self.route(name).default(self.ready(name), self.labels(name))
        return versions[max(versions) if version is None else version]

    def _on_trial(self, selection: Selection) -> Entry | None:
        """The canary, when it is this request's turn to meet it."""
        if selection.version or selection.label:
            return None
        name = selection.name or self.default_name
        canary = self.route(name).canary
        if canary is None or canary.version not in self.ready(name):
            return None
        is_met = self._draws.draw(name, selection.key) < canary.share
        return self._entries[name][canary.version] if is_met else None

    def _labelled(self, name: str, label: str) -> Entry:
        versions = self._entries[name]
        if label == LATEST:
            return versions[max(self.ready(name) or versions)]
        version = self.labels(name).get(label)
        if version is None:
            raise NotFoundError("model.version_label", f"points to no version: {label[:64]!a}")
        if version not in versions:
            raise NotReadyError(f"{name} version {version}, labelled {label}, is not loaded")
        return versions[version]

    def _relabel(self, name: str, versions: Versions) -> None:
        labels = self.labels(name)
        newest = self._labelled(name, LATEST)
        for entry in versions.values():
            own = [label for label, version in labels.items() if version == entry.version]
            entry.labels = ([LATEST] if entry is newest else []) + own


def _numbered(versions: Versions, version: str) -> Entry:
    if not re.fullmatch(VERSION_PATTERN, version, re.ASCII):
        raise InvalidRequestError("model.version", "must be a decimal integer of 1 to 18 digits")
    entry = versions.get(int(version))
    if entry is None:
        raise NotFoundError("model.version", f"is not loaded: {int(version)}")
    return entry
