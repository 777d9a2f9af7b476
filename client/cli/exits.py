"""How a command ends: exit codes, and one sentence when it ends badly."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import typer

from client.address import is_loopback
from client.cli.exit_codes import ExitCode
from client.cli.text import printable
from client.errors import (
    ClassifyError,
    ClientError,
    CredentialsError,
    DeadlineExceededError,
    ImageFileError,
    NotFoundError,
    ServerUnavailableError,
)
from client.health import NOT_SERVING

# A server that is stopped at once cancels its calls.
_UNAVAILABLE_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
_REFUSAL_CODES = ("NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED")


def exit_code_of_item(error: ClientError | None) -> ExitCode:
    """Return what the outcome of one image means for the exit code."""
    if error is None:
        return ExitCode.OK
    if isinstance(error, ImageFileError) or error.code not in _UNAVAILABLE_CODES:
        return ExitCode.SOME_FAILED
    return ExitCode.UNAVAILABLE


def concerns_all_images(error: ClientError) -> bool:
    """Tell whether an image's error would be that of every other image, too: the request is
    wrong, not the image."""
    if isinstance(error, ImageFileError):
        return False
    field = re.split(r"[.\[\]]", getattr(error, "field", ""))
    wrong_field = error.code == "INVALID_ARGUMENT" and field != [""] and "image" not in field
    return wrong_field or error.code in _REFUSAL_CODES


@contextmanager
def exits(address: str) -> Iterator[None]:
    """End the command with an exit code and a sentence instead of a traceback.

    Raises:
        typer.Exit: The body failed because of the server, Ctrl-C, or a closed pipe.
    """
    try:
        yield
        sys.stdout.flush()
    except CredentialsError as error:
        typer.echo(f"Error: {printable(error.message)}.", err=True)
        raise typer.Exit(ExitCode.USAGE) from None
    except ClientError as error:
        typer.echo(f"Error: {sentence(error, address)}", err=True)
        code = ExitCode.UNAVAILABLE if error.code in _UNAVAILABLE_CODES else ExitCode.REFUSED
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        _leave_closed_pipe()


def sentence(error: ClientError, address: str) -> str:
    """Return what went wrong with the server and what to try, for people."""
    message = printable(error.message).rstrip(".")
    if isinstance(error, ServerUnavailableError):
        start = "Start one with `make serve` or `python -m server`, or name another"
        check = "Check that it runs and that the address is right, or name another"
        hint = start if is_loopback(address) else check
        return f"{message[:1].upper()}{message[1:]}. {hint} with --server HOST:PORT."
    if error.reason == NOT_SERVING:
        return f"{message}. If it is running, its log tells what it waits for."
    if isinstance(error, DeadlineExceededError):
        return f"{message}. A longer --timeout may help."
    if isinstance(error, NotFoundError):
        return f"{message}. `python -m client models` lists what {address} serves."
    if isinstance(error, ClassifyError):
        return f"{message} ({address} answered {error.code})."
    return f"{message}."


def _leave_closed_pipe() -> NoReturn:
    """Leave without the complaint that Python makes when it flushes a closed pipe at exit."""
    with suppress(OSError, ValueError):  # standard output may be no file at all
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
    raise typer.Exit(ExitCode.PIPE_CLOSED) from None
