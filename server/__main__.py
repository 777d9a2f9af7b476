"""The server's command line: ``python -m server``."""

import asyncio
import logging
import sys

from models.errors import ModelsError
from server.app import serve
from server.fronts.keeper import NeverReadyError
from server.garbage import spare_imports
from server.listener import StartError
from server.settings import SettingsError, load_settings
from server.supervisor import supervise
from server.telemetry.logs import configure_logs

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
    spare_imports()
    try:
        if settings.fronts > 1:
            asyncio.run(supervise(settings, sys.argv[1:]))
        else:
            asyncio.run(serve(settings, dropped_log_lines=lambda: logs.dropped))
    except NeverReadyError as error:
        log.error("%s", error)  # noqa: TRY400
        return error.code
    except (StartError, SettingsError, ModelsError) as error:
        log.error("%s", error)  # noqa: TRY400 - the message is for the operator
        return _CANNOT_START
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
