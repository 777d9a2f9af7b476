"""The versions of every model in the repository, and which one answers a request.

At start the newest version of each model is loaded, and those that its version
labels point to. A version that fails never takes traffic and keeps no other
from it.
"""

import asyncio
import logging
import re
from dataclasses import dataclass, field
from enum import StrEnum

from models.artifact import Artifact
from models.errors import ModelsError
from models.manifest import VERSION_PATTERN, Manifest
from models.repository import ModelRepository
from server.catalog.servable import EngineOptions, Servable
from server.errors import DrainingError, InvalidRequestError, NotFoundError, NotReadyError
from server.pipeline.decode import DecodePool
from server.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LATEST = "latest"


class State(StrEnum):
    """LOADING -> READY -> DRAINING, or LOADING -> FAILED."""

    LOADING = "LOADING"
    READY = "READY"
    DRAINING = "DRAINING"
    FAILED = "FAILED"


@dataclass
class Entry:
    """A model version the server knows.

    Attributes:
        name: The model.
        version: The version.
        state: Where it stands.
        reason: Why it is FAILED; empty otherwise.
        labels: The version labels that point here.
        manifest: Once the artifact is verified.
        digest: SHA-256 of the manifest file, likewise.
        servable: Once READY.
    """

    name: str
    version: int
    state: State = State.LOADING
    reason: str = ""
    labels: list[str] = field(default_factory=list)
    manifest: Manifest | None = None
    digest: str = ""
    servable: Servable | None = None


@dataclass(frozen=True)
class Selection:
    """Which model version a request asks for; empty strings leave it to the server."""

    name: str = ""
    version: str = ""
    label: str = ""


class Catalog:
    """Loads model versions and resolves requests to them.

    Args:
        repository: Where artifacts lie.
        default_model: For requests that name none; empty: the first by name.
        decoder: Shared by all models.
        options: How engines run.
        metrics: The server's metrics.
    """

    def __init__(
        self,
        repository: ModelRepository,
        default_model: str,
        decoder: DecodePool,
        options: EngineOptions,
        metrics: Metrics,
    ) -> None:
        self._repository = repository
        self._default_model = default_model
        self._decoder = decoder
        self._options = options
        self._metrics = metrics
        self._entries: dict[str, dict[int, Entry]] = {}

    async def load(self) -> None:
        """Load what the repository holds, one version after another."""
        for name in self._repository.models():
            self._entries[name] = self._plan(name)
        for versions in self._entries.values():
            for entry in versions.values():
                await self._load(entry)

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

    @property
    def default_name(self) -> str:
        """The model for requests that name none; empty when there is no model."""
        return self._default_model or min(self._entries, default="")

    def is_ready(self) -> bool:
        """Whether a request that names nothing would be served."""
        versions = self._entries.get(self.default_name, {})
        return any(entry.state is State.READY for entry in versions.values())

    def is_default(self, entry: Entry) -> bool:
        """Whether ``entry`` answers requests that name no version of its model."""
        return entry is self._newest(self._entries[entry.name])

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
            return self._labelled(versions, selection.label)
        if selection.version:
            return _numbered(versions, selection.version)
        return self._newest(versions)

    def servable(self, selection: Selection) -> Servable:
        """The version that ``selection`` means, ready to serve.

        Raises:
            NotFoundError: There is no such model, version or label.
            InvalidRequestError: The version is not a decimal integer.
            NotReadyError: It is loading or failed to load.
            DrainingError: It is going away.
        """
        entry = self.resolve(selection)
        if entry.state is State.DRAINING:
            raise DrainingError("the server is shutting down and takes no new requests")
        if entry.servable is None or entry.state is not State.READY:
            raise NotReadyError(f"{entry.name} version {entry.version} is {entry.state}")
        return entry.servable

    async def drain(self) -> None:
        """Answer what was accepted and take nothing new."""
        ready = [entry for entry in self.entries() if entry.state is State.READY]
        for entry in ready:
            entry.state = State.DRAINING
        await asyncio.gather(*(entry.servable.drain() for entry in ready if entry.servable))

    def _plan(self, name: str) -> dict[int, Entry]:
        newest = self._repository.versions(name)[-1]
        entries = {newest: Entry(name, newest, labels=[LATEST])}
        try:
            labels = self._repository.labels(name)
        except ModelsError as error:
            log.error("version labels are ignored: %s", error)  # noqa: TRY400 - says it all
            labels = {}
        for label, version in labels.items():
            entries.setdefault(version, Entry(name, version)).labels.append(label)
        return entries

    async def _load(self, entry: Entry) -> None:
        fields = {"model": entry.name, "version": entry.version}
        try:
            artifact: Artifact = await asyncio.to_thread(
                self._repository.read, entry.name, entry.version
            )
            entry.manifest, entry.digest = artifact.manifest, artifact.digest
            entry.servable = await Servable.load(
                artifact, self._decoder, self._options, self._metrics
            )
        except ModelsError as error:
            entry.state, entry.reason = State.FAILED, str(error)
            log.error("model failed: %s", error, extra={"fields": fields})  # noqa: TRY400
            return
        except Exception:
            entry.state, entry.reason = State.FAILED, "the engine could not load it; see the logs"
            log.exception("model failed", extra={"fields": fields})
            return
        entry.state = State.READY
        self._announce(entry, entry.servable)

    def _announce(self, entry: Entry, servable: Servable) -> None:
        info = {
            "model": entry.name,
            "version": str(entry.version),
            "network": servable.manifest.network,
            "device": str(self._options.device),
            "dtype": servable.dtype,
            "digest": entry.digest,
        }
        self._metrics.model_info.labels(**info).set(1)
        log.info("model ready", extra={"fields": info})

    def _newest(self, versions: dict[int, Entry]) -> Entry:
        """The newest READY version, or the newest when none is."""
        ready = [number for number, entry in versions.items() if entry.state is State.READY]
        return versions[max(ready or versions)]

    def _labelled(self, versions: dict[int, Entry], label: str) -> Entry:
        if label == LATEST:
            return self._newest(versions)
        for entry in versions.values():
            if label in entry.labels:
                return entry
        raise NotFoundError("model.version_label", f"points to no version: {label[:64]!a}")


def _numbered(versions: dict[int, Entry], version: str) -> Entry:
    if not re.fullmatch(VERSION_PATTERN, version, re.ASCII):
        raise InvalidRequestError("model.version", "must be a decimal integer of 1 to 18 digits")
    entry = versions.get(int(version))
    if entry is None:
        raise NotFoundError("model.version", f"is not loaded: {int(version)}")
    return entry
