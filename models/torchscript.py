"""TorchScript in one place.

PyTorch 2.11 deprecates TorchScript in favour of torch.export and warns on every
call; it still works and its files move between releases. The warning is
silenced here and nowhere else.
"""

import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from models.errors import IntegrityError

_MAX_INFLATION = 4
_INFLATION_SLACK_BYTES = 16 * 2**20


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Compile an eager module, its exported methods included."""
    with _without_deprecation():
        scripted: torch.jit.ScriptModule = torch.jit.script(module)
    return scripted


def save(module: torch.jit.ScriptModule) -> bytes:
    """Serialise a scripted module."""
    buffer = io.BytesIO()
    with _without_deprecation():
        torch.jit.save(module, buffer)
    return buffer.getvalue()


def load(archive: bytes) -> torch.jit.ScriptModule:
    """Load a scripted module onto the CPU.

    The archive is code: call this only with bytes whose digest has been verified.

    Raises:
        IntegrityError: The archive is no TorchScript file or inflates beyond reason.
    """
    _check_inflation(archive)
    try:
        with _without_deprecation():
            module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(archive), map_location="cpu"
            )
    except RuntimeError as error:
        raise IntegrityError("model.pt is not a TorchScript archive") from error
    return module


def freeze(module: torch.jit.ScriptModule, keep: list[str]) -> torch.jit.ScriptModule:
    """Inline weights and fold batch norms of a module in eval mode.

    Args:
        module: A scripted module in eval mode.
        keep: Names of methods and attributes that stay callable beside ``forward``.
    """
    with _without_deprecation():
        frozen: torch.jit.ScriptModule = torch.jit.freeze(module, preserved_attrs=keep)
    return frozen


def _check_inflation(archive: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as content:
            inflated = sum(entry.file_size for entry in content.infolist())
    except zipfile.BadZipFile as error:
        raise IntegrityError("model.pt is not a TorchScript archive") from error
    if inflated > _MAX_INFLATION * len(archive) + _INFLATION_SLACK_BYTES:
        raise IntegrityError(f"model.pt inflates from {len(archive)} to {inflated} bytes")


@contextmanager
def _without_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r".*torch\.jit.*deprecated", category=DeprecationWarning
        )
        warnings.filterwarnings(
            "ignore", message=r".*torch\.jit.*(not supported|deprecated)", category=FutureWarning
        )
        yield
