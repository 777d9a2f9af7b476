"""A model version as the server knows it, and how a request names one."""

from dataclasses import dataclass, field
from enum import StrEnum

from models.manifest import Manifest
from server.catalog.servable import Servable


class State(StrEnum):
    """LOADING -> READY -> DRAINING -> gone, or LOADING -> FAILED."""

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
        memory_bytes: What it is reckoned to hold while it serves.
    """

    name: str
    version: int
    state: State = State.LOADING
    reason: str = ""
    labels: list[str] = field(default_factory=list)
    manifest: Manifest | None = None
    digest: str = ""
    servable: Servable | None = None
    memory_bytes: int = 0


@dataclass(frozen=True)
class Selection:
    """Which model version a request asks for; empty strings leave it to the server.

    Attributes:
        name: The model.
        version: Its number.
        label: A version label.
        key: Requests with the same key meet the same version of a canary.
    """

    name: str = ""
    version: str = ""
    label: str = ""
    key: str = ""
