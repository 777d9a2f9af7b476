"""``trace``: what stands behind an answer."""

import json
from typing import Annotated

import typer
from rich.text import Text

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.screen import open_screen
from client.cli.table import image_block
from client.cli.text import printable
from client.results import Classification, ModelInfo


@takes(connection=CONNECTION)
def trace(
    request_id: Annotated[
        str,
        typer.Argument(metavar="REQUEST_ID", help="The answer's; classify --json -v shows it."),
    ],
    *,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Show the model, the data and the recipe behind an answer."""
    screen = open_screen()
    with connection.open() as client:
        answer = client.answer(request_id)
        model = client.model(answer.model, version=answer.version)
        if as_json:
            json_lines.write_line(json_lines.trace_object(answer, model))
            return
        screen.out.print(image_block(request_id, answer, unicode=screen.unicode, verbose=False))
        for name, value in _facts(answer, model).items():
            screen.out.print(Text(f"  {name:12}  {printable(value)}"))


def _facts(answer: Classification, model: ModelInfo) -> dict[str, str]:
    origin = model.recipe.get("name", "unknown")
    same = "" if answer.digest == model.digest else "; the version is another artifact now"
    return {
        "artifact": answer.digest + same,
        "made": model.created.isoformat() if model.created else "unknown",
        "network": model.network,
        "trained on": model.data_fingerprint,
        "by recipe": str(origin),
        "from weights": json.dumps(_section(model, "network").get("weights", "unknown")),
        "with": ", ".join(f"{name} {version}" for name, version in sorted(model.libraries.items())),
        "accuracy": f"{model.metrics.get('accuracy', float('nan')):.2%}",
    }


def _section(model: ModelInfo, name: str) -> dict[str, object]:
    found = model.recipe.get(name)
    return found if isinstance(found, dict) else {}
