"""What a network starts from: nothing, ImageNet, or a file.

Only the body is loaded; the head starts fresh, because its classes are others.
"""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models import VGG16_Weights, WeightsEnum, get_model_weights

from trainer.errors import WeightsError
from trainer.networks.network import Network
from trainer.recipe import NetworkSpec, TorchvisionResNetSpec, Vgg16Spec

_SHOWN = 3  # names in a message
_RUN_PREFIX = "network."
_NOT_WEIGHTS = (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError)


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded.

    Attributes:
        origin: For people: "none", or where the tensors come from.
        loaded: How many tensors of the body were loaded.
    """

    origin: str
    loaded: int


def load_weights(network: Network, spec: NetworkSpec) -> WeightsReport:
    """Load the body's weights that ``spec.weights`` names into ``network``.

    Raises:
        WeightsError: They cannot be had, are no weights, or are of another network.
    """
    if spec.weights == "none":
        return WeightsReport("none", 0)
    if spec.weights == "imagenet":
        published = _published(spec)
        origin, tensors = f"torchvision {published}", _download(published, spec.name)
    else:
        path = Path(spec.weights)
        origin, tensors = str(path), read_weights(path)
    body = _body(network, tensors, origin)
    network.load_state_dict(body, strict=False)
    return WeightsReport(origin, len(body))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file: torchvision's, a state dict of ours, or a run's checkpoint.

    Args:
        path: A .pth or .ckpt file, or a run's folder, of which the best checkpoint is taken.

    Raises:
        WeightsError: There is no such file, or it holds something else.
    """
    file = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"weights {file} cannot be read: {error.strerror}") from error
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        ValueError,
    ) as error:
        raise WeightsError(f"{file} is not a file of PyTorch weights") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = {
            name.removeprefix(_RUN_PREFIX): tensor
            for name, tensor in content["state_dict"].items()
            if name.startswith(_RUN_PREFIX)
        }
    if not isinstance(content, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in content.values()
    ):
        raise WeightsError(f"{file} holds no state dict")
    return dict(content)


def _body(network: Network, tensors: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The tensors of ``network``'s body, under its names."""
    wanted = body_state(network)
    found: dict[str, Tensor] = {}
    for name in wanted:
        # torchvision's files name the tensors of what is ``base`` here without that prefix;
        # VGG16's base is its ``features``.
        bare = name.removeprefix("base.")
        for candidate in (name, bare, f"features.{bare}"):
            if candidate in tensors:
                found[name] = tensors[candidate]
                break
    missing = [
        name
        for name in wanted
        # A mere counter, which files from before PyTorch 0.4.1 do not have.
        if name not in found and not name.endswith("num_batches_tracked")
    ]
    if missing:
        raise WeightsError(
            f"{origin} lacks {len(missing)} of the body's {len(wanted)} tensors:"
            f" {', '.join(missing[:_SHOWN])}; is it of another network?"
        )
    misshapen = [name for name in found if found[name].shape != wanted[name].shape]
    if misshapen:
        first = misshapen[0]
        raise WeightsError(
            f"{origin} has {len(misshapen)} tensors of another shape: {first} is"
            f" {tuple(found[first].shape)}, the network's is {tuple(wanted[first].shape)}"
        )
    return found


def body_state(network: Network) -> dict[str, Tensor]:
    """The network's tensors, buffers among them, without the head's."""
    head = {id(tensor) for module in network.head_modules() for tensor in module.parameters()}
    parameters = {name for name, tensor in network.named_parameters() if id(tensor) in head}
    return {name: tensor for name, tensor in network.state_dict().items() if name not in parameters}


def _published(spec: NetworkSpec) -> WeightsEnum:
    match spec:
        case Vgg16Spec():
            return VGG16_Weights.IMAGENET1K_V1
        case TorchvisionResNetSpec():
            return get_model_weights(spec.name)[spec.imagenet]
        case _:
            raise WeightsError(
                f"nobody publishes ImageNet weights of {spec.name}: give a file, or none"
            )


def _download(weights: WeightsEnum, network: str) -> dict[str, Tensor]:
    """torchvision's file, from torch.hub's cache where it is there already."""
    try:
        return cast(dict[str, Tensor], weights.get_state_dict(check_hash=True, progress=False))
    except (URLError, TimeoutError, ConnectionError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsError(
            f"the ImageNet weights of {network} cannot be downloaded ({error}). Fetch"
            f" {weights.url} and pass --weights FILE, or put it into {folder}"
        ) from error
