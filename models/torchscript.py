"""TorchScript in one place.

PyTorch 2.11 deprecates TorchScript in favour of torch.export and warns on every
call; it still works and its files move between releases. The warning is
silenced here and nowhere else.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.errors import IntegrityError
from models.inflation import check_inflation
from models.manifest import MODEL_NAME


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
    check_inflation(archive, MODEL_NAME)
    try:
        with _without_deprecation():
            module: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(archive), map_location="cpu")
    except Exception as error:  # damage raises RuntimeError, UnicodeDecodeError, IndexError...
        raise IntegrityError(f"{MODEL_NAME} is not a TorchScript archive") from error
    return module


def freeze(module: torch.jit.ScriptModule, keep: Sequence[str] = ()) -> torch.jit.ScriptModule:
    """Inline weights and fold batch norms of a module in eval mode.

    Args:
        module: A scripted module in eval mode.
        keep: Names of methods and attributes that stay callable beside ``forward``.
    """
    with _without_deprecation():
        frozen: torch.jit.ScriptModule = torch.jit.freeze(module, preserved_attrs=list(keep))
    return frozen


class _FeaturesAndLogits(nn.Module):
    def __init__(self, module: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.module = module

    @torch.jit.export
    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.module.head(features)
        return logits

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.module.features(images)
        return features, self.head(features)


def freeze_both(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Freeze an artifact's module so that one pass gives its features, too.

    One graph holds the weights once; frozen with ``features`` kept, there would be two.

    Args:
        module: An artifact's module in eval mode.

    Returns:
        ``forward`` takes uint8 [b, 3, h, w] and gives (features [b, c, h', w'], logits
        float32 [b, classes]); ``head`` takes the former and gives the latter.
    """
    return freeze(script(_FeaturesAndLogits(module).eval()), keep=["head"])


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
