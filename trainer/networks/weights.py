"""What a network starts from: nothing, ImageNet, or a file."""

import contextlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor
from torchvision.models import VGG16_Weights, WeightsEnum, get_model_weights

from trainer.errors import WeightsError
from trainer.networks.network import Network
from trainer.networks.weight_files import read_weights
from trainer.recipe import NetworkSpec, TorchvisionResNetSpec, Vgg16Spec

_SHOWN = 3  # names in a message
# A mere counter, which files from before PyTorch 0.4.1 (torchvision's among them) lack.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded.

    Attributes:
        origin: For people: "none", or where the tensors come from.
        loaded: How many tensors were loaded, buffers among them.
        fresh: Names of the tensors that were left as they were initialised.
    """

    origin: str
    loaded: int
    fresh: tuple[str, ...]


def load_weights(network: Network, spec: NetworkSpec) -> WeightsReport:
    """Load the weights that ``spec.weights`` names into ``network``: all of its body or nothing.

    The head stays fresh, because its classes are others, except where the file is a run's
    checkpoint and every tensor of the head has the same shape.

    Raises:
        WeightsError: They cannot be had, are no weights, or are of another network; the
            network is then unchanged.
    """
    if spec.weights == "none":
        return WeightsReport("none", 0, tuple(network.state_dict()))
    if spec.weights == "imagenet":
        published = _published(spec)
        origin, tensors, of_run = f"torchvision {published}", _download(published, spec.name), False
    else:
        file = read_weights(Path(spec.weights))
        origin, tensors, of_run = str(file.path), file.tensors, file.of_run
    chosen = _matched(body_state(network), tensors, origin)
    if of_run:
        chosen |= _head(network, tensors)
    network.load_state_dict(chosen, strict=False)
    fresh = tuple(name for name in network.state_dict() if name not in chosen)
    return WeightsReport(origin, len(chosen), fresh)


def body_state(network: Network) -> dict[str, Tensor]:
    """The network's tensors, buffers among them, without the head's."""
    head = {id(tensor) for module in network.head_modules() for tensor in module.parameters()}
    parameters = {name for name, tensor in network.named_parameters() if id(tensor) in head}
    return {name: tensor for name, tensor in network.state_dict().items() if name not in parameters}


def _matched(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], origin: str
) -> dict[str, Tensor]:
    """The tensors of ``wanted`` from ``tensors``, under the names of ``wanted``."""
    found = {name: tensors[source] for name in wanted if (source := _source(name, tensors))}
    missing = [name for name in wanted if name not in found and not name.endswith(_COUNTER)]
    if missing:
        raise WeightsError(
            f"{origin} lacks {len(missing)} of the body's {len(wanted)} tensors"
            f" ({_first(missing)}): is it of another network?"
        )
    misshapen = [
        f"{name} is {_shape(found[name])} there and {_shape(wanted[name])} here"
        for name in found
        if found[name].shape != wanted[name].shape
    ]
    if misshapen:
        raise WeightsError(
            f"{origin} has {len(misshapen)} of the body's {len(wanted)} tensors in another"
            f" shape ({_first(misshapen)}): is it of another network?"
        )
    return found


def _source(name: str, tensors: Mapping[str, Tensor]) -> str | None:
    """What a file calls the tensor ``name``, if it has it.

    torchvision's files name the tensors of what is ``base`` here without that prefix;
    VGG16's base is its ``features``.
    """
    bare = name.removeprefix("base.")
    return next((key for key in (name, bare, f"features.{bare}") if key in tensors), None)


def _head(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A run's head where it fits as a whole; else nothing, since half a head is none."""
    body = body_state(network)
    wanted = {name: tensor for name, tensor in network.state_dict().items() if name not in body}
    fits = all(name in tensors and tensors[name].shape == wanted[name].shape for name in wanted)
    return {name: tensors[name] for name in wanted} if fits else {}


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
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    cached = folder / Path(urlparse(weights.url).path).name
    if not cached.exists():
        _fetch(weights, network, cached)
    try:
        return read_weights(cached).tensors
    except WeightsError as error:
        raise WeightsError(f"{error}; delete it and it is fetched again") from error


def _fetch(weights: WeightsEnum, network: str, cached: Path) -> None:
    try:
        # torch.hub reports on stdout, which belongs to the command's result.
        with contextlib.redirect_stdout(sys.stderr):
            weights.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError) as error:  # no network, a full disk; a wrong digest
        raise WeightsError(
            f"the ImageNet weights of {network} cannot be downloaded ({error}). Fetch"
            f" {weights.url} and pass --weights FILE, or put {cached.name} into {cached.parent}"
        ) from error


def _first(items: Iterable[str]) -> str:
    items = list(items)
    return ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape)


def portable_name(weights: str) -> str:
    """What to call ``weights`` in files that travel: a file's name, a run's recipe and time."""
    if weights in ("none", "imagenet"):
        return weights
    path = Path(weights)
    if path.parent.name == "checkpoints":
        return "/".join(path.parts[-4:])
    return "/".join(path.parts[-2:]) if path.is_dir() else path.name
