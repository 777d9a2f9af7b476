"""The commands: their names, one line about each, examples. Each is loaded when it is used, so
that ``--help`` need not wait for gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup
from typer.main import get_command

from client.cli.exit_codes import EXIT_CODES_HELP

if TYPE_CHECKING:
    from typer._click import Command as ClickCommand
    from typer._click import Context, HelpFormatter

CALL = "python -m client"


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the function of its name in ``client.cli.<name>``, or a Typer named ``app``.

    Attributes:
        about: What it does, in a line; the function's docstring begins with it.
        examples: Command lines without ``python -m client``.
    """

    about: str
    examples: tuple[str, ...]


COMMANDS: Mapping[str, Command] = {
    "classify": Command(
        "Classify images. Results come in the order of the images.",
        (
            "classify photo.jpg",
            "classify examples/photos --json --top-k 1",
            "classify -v - < photo.jpg",
        ),
    ),
    "explain": Command(
        "Classify an image and show which parts of it speak for a label.",
        ("explain photo.jpg -o map.png", "explain photo.jpg --label-id cat --json"),
    ),
    "feedback": Command(
        "Tell the server whether an answer was right.",
        ("feedback REQUEST_ID dog", 'feedback REQUEST_ID dog --comment "asleep"'),
    ),
    "trace": Command(
        "Show the model, the data and the recipe behind an answer.",
        ("trace REQUEST_ID", "trace REQUEST_ID --json"),
    ),
    "models": Command(
        "List the models of the server; a star marks the default.",
        (
            "models",
            "models watch",
            "models canary pets 4 0.05 --server 127.0.0.1:50052",
            "models shadow pets 4 --percent 10 --server 127.0.0.1:50052",
            "models rollback pets --server 127.0.0.1:50052",
        ),
    ),
    "health": Command(
        "Tell whether the server takes requests; exit with 0 only if it does.",
        ("health", "health --wait 60"),
    ),
    "doctor": Command(
        "Find out what is wrong between here and the server, and what mends it.",
        ("doctor", "doctor --server photos.example.org:443 --tls"),
    ),
    "export": Command(
        "Write a table of labels and scores. The same command goes on where it was interrupted.",
        ("export DIR -o labels.csv", "export DIR -o labels.parquet --top-k 3"),
    ),
    "gallery": Command(
        "Write a page with the photos by label, the least certain first. It opens offline.",
        ("gallery DIR -o page.html", "gallery DIR -o page.html --beside"),
    ),
    "sort": Command(
        "Sort photos into a folder for each label. Without --go it only says what it would do.",
        (
            "sort DIR --into sorted",
            "sort DIR --into sorted --go --how link --min-score 0.9",
            "sort --undo sorted/undo-20260101-120000.jsonl",
        ),
    ),
    "watch": Command(
        "Classify photos as they arrive in a folder. Ctrl-C ends it.",
        ("watch DIR", "watch DIR --existing --json"),
    ),
    "web": Command(
        "Open a web page to classify photos, and an HTTP interface (/docs).",
        ("web", "web --port 8000 --examples DIR"),
    ),
    "bench": Command(
        "Put the server under load: throughput, latencies, refusals. Ctrl-C ends it early.",
        ("bench DIR", "bench DIR --rate 200 --deadline-ms 500"),
    ),
    "plan": Command(
        "Say how many servers like this one a load takes, and show the arithmetic.",
        ("plan --rps 5000 --p99 100ms", "plan --rps 200 --p99 0.5s --model pets --json"),
    ),
    "replay": Command(
        "Send recorded requests again, at their own times, and say what differs.",
        (
            "replay RECORD --speed 2",
            "replay RECORD --version 5 --json",
            "replay RECORD --against old.example.org:443",
        ),
    ),
}


class Group(TyperGroup):
    """A group whose help says of each command what it does, whole."""

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the list of commands."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, (one.help if one else "") or "") for name, one in found])


class Commands(TyperGroup):
    """The group of COMMANDS."""

    def list_commands(self, ctx: "Context") -> list[str]:  # noqa: ARG002 (the library's)
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: "Context",  # noqa: ARG002 (the library's)
        cmd_name: str,
    ) -> "ClickCommand | None":
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands[cmd_name]

    def format_commands(
        self,
        ctx: "Context",  # noqa: ARG002 (the library's)
        formatter: "HelpFormatter",
    ) -> None:
        """Write the list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, known.about) for name, known in COMMANDS.items()])


def _load(name: str) -> "ClickCommand":
    module = import_module(f"client.cli.{name}")
    if isinstance(getattr(module, "app", None), typer.Typer):
        return get_command(module.app)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name, epilog=epilog(COMMANDS[name].examples))(getattr(module, name))
    return get_command(app)


def epilog(examples: tuple[str, ...]) -> str:
    """What stands below a command's help."""
    lines = "".join(f"\n  {CALL} {example}" for example in examples)
    return f"\b\nExamples:{lines}\n\n{EXIT_CODES_HELP}"
