"""One process of several: ``python -m server.process ROLE FOLDER PORT NUMBER [SETTINGS]``.

Not for people: `server.supervisor` starts it. Says on stdout when it is ready, and ends by
SIGTERM or when its stdin does.
"""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from models.errors import ModelsError
from server.app import running_engine
from server.front import running_front
from server.fronts.shared_folder import hold
from server.garbage import spare_imports
from server.settings import Settings, SettingsError, load_settings
from server.start import StartError
from server.telemetry.logs import QueuedHandler, configure_logs

_CANNOT_START = 1


def main() -> int:
    """Run the role until told to stop; returns 0 after a clean drain."""
    role, folder, port, number, *arguments = sys.argv[1:]
    settings = load_settings(arguments)
    logs = configure_logs(settings.log_level)
    spare_imports()
    try:
        hold(Path(folder))  # for as long as this process lives, even longer than the supervisor
        if role == "engine":
            asyncio.run(_engine(settings, Path(folder), logs))
        else:
            asyncio.run(_front(settings, Path(folder), int(port), number))
    except (StartError, SettingsError, ModelsError) as error:
        logging.getLogger("server").error("%s", error)  # noqa: TRY400 - for the operator
        return _CANNOT_START
    return 0


async def _engine(settings: Settings, folder: Path, logs: QueuedHandler) -> None:
    stop = _stop_with_stdin()
    (folder / "engine").unlink(missing_ok=True)  # of one that was here before and died
    async with running_engine(
        settings, folder / "engine", stop, dropped_log_lines=lambda: logs.dropped
    ) as addresses:
        _say_ready(metrics=addresses.metrics)
        await stop.wait()


async def _front(settings: Settings, folder: Path, port: int, number: str) -> None:
    stop = _stop_with_stdin()
    slots = folder / f"slots-{number}"
    async with running_front(settings, folder / "engine", slots, port, stop):
        _say_ready()
        await stop.wait()


def _stop_with_stdin() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, read)
    return stop


def _say_ready(**fields: str) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
