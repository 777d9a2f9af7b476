"""Files of weights: torchvision's, a state dict of ours, a run's, a version's, safetensors.

Nothing in a file is ever run: pickles are opened with ``weights_only``, and a version's module
is verified and opened, not called.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from models.artifact import read_artifact
from models.errors import ModelsError
from trainer.errors import WeightsError
from trainer.networks.origins import is_version

_RUN_PREFIX, _VERSION_PREFIX = "network.", "body.network."


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        path: The file.
        tensors: By the names that the file gives them, less a checkpoint's prefix.
        of_run: Whether it is of a run or a version, so that its head is one of ours.
    """

    path: Path
    tensors: dict[str, Tensor]
    of_run: bool


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights onto the CPU.

    Args:
        path: A file, a published version's folder, or a run's, of which the best checkpoint is
            taken. A run that averages its weights keeps the averages there.

    Raises:
        WeightsError: There is no such file, or it holds something else.
    """
    if is_version(path):
        return WeightsFile(path, _of_version(path), of_run=True)
    file = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    content = _open(file)
    # Lightning keeps the tensors of a run under this key.
    checkpoint = content.get("state_dict") if isinstance(content, Mapping) else None
    if isinstance(checkpoint, Mapping):
        return WeightsFile(
            file, _of_network(_tensors(checkpoint, file), file, _RUN_PREFIX), of_run=True
        )
    return WeightsFile(file, _tensors(content, file), of_run=False)


def _of_version(folder: Path) -> dict[str, Tensor]:
    try:
        tensors = read_artifact(folder.resolve()).module().state_dict()
    except ModelsError as error:
        raise WeightsError(f"version {folder}: {error}") from error
    return _of_network(tensors, folder, _VERSION_PREFIX)


def _open(file: Path) -> object:
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load(file.read_bytes())
        with warnings.catch_warnings():
            # A TorchScript archive is refused right after this warning.
            warnings.filterwarnings("ignore", message=".*TorchScript archive", category=UserWarning)
            content: object = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"weights {file} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # damage raises UnpicklingError, IndexError, struct.error...
        raise WeightsError(f"{file} is not a file of PyTorch weights") from error
    return content


def _tensors(content: object, file: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise WeightsError(f"{file} holds no state dict")
    return dict(content)


def _of_network(tensors: Mapping[str, Tensor], file: Path, prefix: str) -> dict[str, Tensor]:
    found = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    if not found:
        raise WeightsError(f"{file} is a checkpoint, but not of a run of this trainer")
    return found
