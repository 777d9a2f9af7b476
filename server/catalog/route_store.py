"""What administrators have set, kept on disk so that a restart knows it: labels, canaries, shadows,
and what was rolled back. Nothing else: which versions there are, the repository says.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.manifest import NAME_PATTERN
from models.repository import LABEL_PATTERN
from server.catalog.catalog import Catalog
from server.catalog.routes import Route, Share

log = logging.getLogger(__name__)

FILE_NAME = "routes.json"
_MOST_BYTES = 2**24

_Name = Annotated[str, Field(pattern=f"^(?:{NAME_PATTERN})$")]
_Label = Annotated[str, Field(pattern=f"^(?:{LABEL_PATTERN})$")]
_Version = Annotated[int, Field(ge=0, lt=10**18)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Share(_Strict):
    version: _Version
    share: float = Field(gt=0.0, le=1.0)


class _Route(_Strict):
    labels: dict[_Label, _Version] = {}
    held_back: list[_Version] = []
    canary: _Share | None = None
    shadow: _Share | None = None


class _File(_Strict):
    schema_version: Literal[1]
    models: dict[_Name, _Route]


class RouteStore:
    """A file in a folder of the server's own. Blocks: for threads.

    Args:
        folder: Made if there is none.

    Raises:
        OSError: It cannot be made, or nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE_NAME
        self._beside = folder / f".{FILE_NAME}.new"
        self._beside.write_bytes(b"")
        self._beside.unlink()

    def read(self) -> dict[str, Route]:
        """What was written last, by model; nothing where that is damaged, which the log then says.

        A damaged file is kept under another name, for people to look at.

        Raises:
            OSError: It is there and cannot be read; it may be whole, so it stays.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES)
            found = _File.model_validate_json(content)
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            log.error("what was set by call is lost: %s: %s", self._path, _short(error))  # noqa: TRY400 - says it all
            self._set_aside()
            return {}
        return {name: _route(route) for name, route in found.models.items()}

    def write(self, routes: Mapping[str, Route]) -> None:
        """Replace what was written: a reader finds the old or the new, whatever happens.

        Raises:
            OSError: It could not be written; what was there is there still.
        """
        models = {name: _told(route) for name, route in routes.items() if _told(route)}
        content = json.dumps({"schema_version": 1, "models": models}, indent=1, sort_keys=True)
        with self._beside.open("w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._beside.replace(self._path)
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # so that the new name, too, outlives a power cut
        finally:
            os.close(descriptor)

    def _set_aside(self) -> None:
        try:
            self._path.replace(self._path.with_suffix(".damaged.json"))
        except OSError as error:
            log.error("%s: %s", self._path, error.strerror)  # noqa: TRY400 - says it all


class KeptRoutes:
    """Brings back a catalog's routes and writes them whenever they have changed.

    Args:
        catalog: Whose.
        store: Where; None: nowhere.
    """

    def __init__(self, catalog: Catalog, store: RouteStore | None) -> None:
        self._catalog = catalog
        self._store = store
        self._written: dict[str, Route] = {}
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    async def restore(self) -> None:
        """Take in what was written: before anything is loaded.

        Raises:
            OSError: It cannot be read.
        """
        if self._store is None:
            return
        for name, route in (await asyncio.to_thread(self._store.read)).items():
            default_label = self._catalog.route(name).default_label  # of the settings, as they are
            self._catalog.set_route(name, replace(route, default_label=default_label))
        self._written = self._catalog.routes()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """What changes inside the block is written."""
        if self._store is None:
            yield
            return
        self._catalog.on_change(self._note)
        self._note()
        task = asyncio.create_task(self._run(self._store))
        try:
            yield
            await self.settled()
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def settled(self) -> None:
        """Return when what is in force is written, or the log says why it is not."""
        await self._settled.wait()

    def _note(self) -> None:
        if self._catalog.routes() != self._written:
            self._settled.clear()
            self._changed.set()

    async def _run(self, store: RouteStore) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            routes = self._catalog.routes()
            try:
                await asyncio.to_thread(store.write, routes)
            except Exception:
                log.exception("what was set is in force and will not outlive this process")
            self._written = routes
            if not self._changed.is_set():
                self._settled.set()


def _route(route: _Route) -> Route:
    return Route(
        labels=route.labels,
        held_back=frozenset(route.held_back),
        canary=Share(**route.canary.model_dump()) if route.canary else None,
        shadow=Share(**route.shadow.model_dump()) if route.shadow else None,
    )


def _told(route: Route) -> dict[str, object]:
    """What was set of a route; empty: nothing."""
    fields: dict[str, object] = {
        "labels": dict(route.labels),
        "held_back": sorted(route.held_back),
        "canary": _share(route.canary),
        "shadow": _share(route.shadow),
    }
    return {key: value for key, value in fields.items() if value}


def _share(share: Share | None) -> dict[str, object]:
    return {} if share is None else {"version": share.version, "share": share.share}


def _short(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
