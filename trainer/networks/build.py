"""From a recipe's ``[network]`` to a network."""

from trainer.networks.network import Network
from trainer.networks.resnet import ResNet
from trainer.recipe import NetworkSpec


def build(spec: NetworkSpec, classes: int) -> Network:
    """Build the network of ``spec`` with fresh weights and ``classes`` logits."""
    return ResNet(spec.depths, spec.widths, classes, spec.dropout)
