"""From a recipe's ``[network]`` to a network."""

from trainer.networks.network import Network
from trainer.networks.resnet import ResNet
from trainer.networks.resnet9 import ResNet9
from trainer.networks.torchvision_resnet import TorchvisionResNet
from trainer.networks.vgg16 import Vgg16
from trainer.recipe import (
    NetworkSpec,
    ResNet9Spec,
    SmallResNetSpec,
    TorchvisionResNetSpec,
    Vgg16Spec,
)


def build(spec: NetworkSpec, classes: int) -> Network:
    """Build the network of ``spec`` with fresh weights and ``classes`` logits."""
    match spec:
        case SmallResNetSpec():
            return ResNet(spec.depths, spec.widths, classes, spec.dropout)
        case ResNet9Spec():
            return ResNet9(classes, spec.dropout)
        case Vgg16Spec():
            return Vgg16(classes, spec.hidden, spec.dropout)
        case TorchvisionResNetSpec():
            return TorchvisionResNet(spec.name, classes, spec.dropout)
