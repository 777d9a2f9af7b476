"""From a recipe's ``[network]`` to a network."""

from trainer.networks.network import Network
from trainer.networks.resnet import ResNet
from trainer.recipe import NetworkSpec, SmallResNetSpec


def build(spec: NetworkSpec, classes: int) -> Network:
    """Build the network of ``spec`` with fresh weights and ``classes`` logits."""
    match spec:
        case SmallResNetSpec():
            return ResNet(spec.depths, spec.widths, classes, spec.dropout)
        case _:
            raise NotImplementedError(spec.name)
