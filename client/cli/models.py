"""``models``: what the server serves."""

from client.cli import json_lines, options
from client.cli.exits import exits
from client.cli.screen import open_screen
from client.cli.table import models_table, print_table
from client.sdk import Client


def models(
    *,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = options.TIMEOUT_S,
    as_json: options.Json = False,
) -> None:
    """List the models of the server; a star marks the default."""
    screen = open_screen()
    with exits(server), Client(server, timeout_s=timeout) as client:
        found = client.models()
        if as_json:
            for model in found:
                json_lines.write_line(json_lines.model_object(model))
        elif found:
            print_table(screen, models_table(found, unicode=screen.unicode))
        else:
            screen.err.print(f"{server} serves no model.")
