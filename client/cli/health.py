"""``health``: whether the server takes requests, now or after a while."""

import time
from collections.abc import Mapping
from typing import Annotated

import typer

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.screen import open_screen
from client.cli.table import health_table, print_table
from client.errors import ClientError
from client.health import OVERALL, SERVICES, HealthStatus
from client.sdk import Client


@takes(connection=CONNECTION)
def health(
    *,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            callback=options.seconds,
            help="Wait so long for the server to start and to be SERVING.",
        ),
    ] = None,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Tell whether the server takes requests; exit with 0 only if it does."""
    screen = open_screen()
    with connection.open() as client:
        try:
            statuses = _statuses(client, wait)
        except ClientError as error:
            if as_json:
                json_lines.write_line(
                    {
                        "server": connection.server,
                        "serving": False,
                        "error": json_lines.error_object(error),
                    }
                )
            raise
        serving = is_serving(statuses)
        if as_json:
            json_lines.write_line(
                json_lines.health_object(connection.server, statuses, serving=serving)
            )
        else:
            print_table(screen, health_table(statuses))
    raise typer.Exit(ExitCode.OK if serving else ExitCode.UNAVAILABLE)


def is_serving(statuses: Mapping[str, HealthStatus]) -> bool:
    """Tell whether the server as a whole is SERVING, and each service that it knows of."""
    allowed = (HealthStatus.SERVING, HealthStatus.SERVICE_UNKNOWN)
    return statuses[OVERALL] is HealthStatus.SERVING and all(
        status in allowed for status in statuses.values()
    )


def _statuses(client: Client, wait_s: float | None) -> dict[str, HealthStatus]:
    deadline_s = time.monotonic() + (wait_s or 0)
    if wait_s is not None:
        client.wait_until_serving(timeout_s=wait_s)
    statuses = {service: client.health(service) for service in (OVERALL, *SERVICES)}
    for service, status in statuses.items():
        left_s = deadline_s - time.monotonic()
        if status is HealthStatus.NOT_SERVING and left_s > 0:
            client.wait_until_serving(service, timeout_s=left_s)
            statuses[service] = HealthStatus.SERVING
    return statuses
