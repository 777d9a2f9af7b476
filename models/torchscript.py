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
from torch import nn

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


_FEATURES_AND_LOGITS = """
def features_and_logits(self, images: Tensor) -> Tuple[Tensor, Tensor]:
    features = self.features(images)
    return features, self.head(features)
"""


def freeze_both(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Freeze an artifact's module so that one pass gives its features, too.

    The method is defined in the module's own compilation unit, which goes with it. A module
    scripted around it would live in Python's, which keeps every class for ever: some 200 KiB
    for each version that was ever loaded.

    Args:
        module: An artifact's, loaded (one that was scripted shares its class with others) and in
            eval mode; not to be used any more.

    Returns:
        ``features_and_logits`` takes uint8 [b, 3, h, w] and gives (features [b, c, h', w'],
        logits float32 [b, classes]); ``head`` takes the former and gives the latter.
    """
    with _without_deprecation():
        module.define(_FEATURES_AND_LOGITS)
    _empty(module.graph)
    return freeze(module, keep=["features_and_logits", "head"])


def _empty(graph: torch.Graph) -> None:
    """Have a method return what it is given: frozen, it would hold the weights once more."""
    *_, given = graph.inputs()
    graph.eraseOutput(0)
    graph.registerOutput(given)
    for node in reversed(list(graph.nodes())):
        node.destroy()


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
