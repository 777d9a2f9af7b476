"""From a trained network to the module of an artifact."""

import torch
from torch import Tensor, nn

from models import torchscript
from trainer.networks import Network
from trainer.normalize import Normalize


class Body(nn.Module):
    """The network in whatever dtype it is cast to; its input follows.

    TorchScript cannot ask a module for its dtype, so an empty buffer carries it.
    """

    dtype_carrier: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("dtype_carrier", torch.empty(0))

    @torch.jit.export
    def features(self, x: Tensor) -> Tensor:
        """Float [b, 3, h, w] to the last feature map."""
        return self.network.features(x.to(self.dtype_carrier.dtype))

    @torch.jit.export
    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float32 [b, classes]."""
        return self.network.head(features).float()

    def forward(self, x: Tensor) -> Tensor:
        """Float [b, 3, h, w] to logits, float32 [b, classes]."""
        return self.head(self.features(x))


class ExportedModel(nn.Module):
    """What an artifact's ``model.pt`` is: pixels in, logits out.

    Normalisation runs in fp32 whatever ``body`` is cast to.
    """

    def __init__(self, normalize: Normalize, network: Network) -> None:
        super().__init__()
        self.normalize = normalize
        self.body = Body(network)

    @torch.jit.export
    def features(self, images: Tensor) -> Tensor:
        """uint8 [b, 3, h, w] to the last feature map, [b, c, h', w']."""
        return self.body.features(self.normalize(images))

    @torch.jit.export
    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float32 [b, classes]."""
        return self.body.head(features)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [b, 3, h, w] to logits, float32 [b, classes]."""
        return self.head(self.features(images))


def assemble(normalize: Normalize, network: Network) -> ExportedModel:
    """A trained network with its normalisation: fp32, eval mode, on the CPU."""
    # Contiguous weights: the server chooses the layout, and the archive stays plain.
    module = ExportedModel(normalize, network).cpu().float().eval()
    return module.to(memory_format=torch.contiguous_format)


def export(normalize: Normalize, network: Network) -> torch.jit.ScriptModule:
    """Script what :func:`assemble` gives."""
    return torchscript.script(assemble(normalize, network))
