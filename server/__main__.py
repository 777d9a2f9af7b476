"""The server's command line: ``python -m server``."""

import asyncio
import logging
import sys

from models.errors import ModelsError
from server.app import StartError, serve
from server.settings import SettingsError, load_settings
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
    configure_logs(settings.log_level)
    log = logging.getLogger("server")
    log.info("settings", extra={"fields": settings.model_dump(mode="json")})
    try:
        asyncio.run(serve(settings))
    except (StartError, ModelsError) as error:
        log.error("%s", error)  # noqa: TRY400 - the message is for the operator
        return _CANNOT_START
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
