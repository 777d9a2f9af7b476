"""The server's command line: ``python -m server``."""

import asyncio
import logging
import sys

from models.errors import ModelsError
from server.fronts.keeper import NeverReadyError
from server.garbage import spare_imports
from server.settings import Settings, SettingsError, load_settings
from server.start import StartError
from server.supervisor import supervise
from server.telemetry.logs import QueuedHandler, configure_logs

_CANNOT_START = 1
_BAD_SETTINGS = 2


def main() -> int:
    """Serve until told to stop; returns 0 after a clean drain."""
    try:
        settings = load_settings(sys.argv[1:])
    except SettingsError as error:
        sys.stderr.write(f"server: {error}\n")
        return _BAD_SETTINGS
    logs = configure_logs(settings.log_level)
    log = logging.getLogger("server")
    log.info("settings", extra={"fields": settings.model_dump(mode="json")})
    try:
        if settings.fronts > 1:
            asyncio.run(supervise(settings, sys.argv[1:]))
        else:
            _serve(settings, logs)
    except NeverReadyError as error:
        log.error("%s", error)  # noqa: TRY400
        return error.code
    except (StartError, SettingsError, ModelsError) as error:
        log.error("%s", error)  # noqa: TRY400 - the message is for the operator
        return _CANNOT_START
    return 0


def _serve(settings: Settings, logs: QueuedHandler) -> None:
    """Serve in this process. Supervisors and mistakes in settings do not wait for torch."""
    from server.app import serve

    spare_imports()
    asyncio.run(serve(settings, dropped_log_lines=lambda: logs.dropped))


if __name__ == "__main__":
    raise SystemExit(main())
