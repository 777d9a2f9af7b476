"""The networks that benchmarks serve."""

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from trainer.networks import Network
from trainer.networks.resnet import ResNet
from trainer.networks.torchvision_resnet import TorchvisionResNet

CLASSES = 10


def resnet18() -> Network:
    """ResNet-18's depths and widths."""
    torch.manual_seed(0)
    return ResNet((2, 2, 2, 2), (64, 128, 256, 512), CLASSES).eval()


def torchvision_resnet(name: Literal["resnet18", "resnet50"]) -> Network:
    """torchvision's ResNet with weights that keep its activations small."""
    torch.manual_seed(0)
    network = TorchvisionResNet(name, CLASSES).eval()
    for module in network.modules():
        # Blocks start as their shortcuts, or untrained ones would grow with each.
        if isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
    return network


class Nothing(Network):
    """Computes next to nothing: what is left is the server's own cost."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.classifier = nn.Linear(3, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """The first pixel: float [b, 3, h, w] to [b, 3, 1, 1]."""
        return x[:, :, :1, :1]

    def head(self, features: Tensor) -> Tensor:
        """Float [b, 3, 1, 1] to logits, float [b, classes]."""
        logits: Tensor = self.classifier(features.flatten(1))
        return logits
