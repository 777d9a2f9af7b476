"""Layer groups for discriminative learning rates."""

from torch import nn

from trainer.networks.network import Network


def learning_rate_groups(network: Network, discrimination: float) -> list[tuple[nn.Module, float]]:
    """Each stage from the input to the head, with its share of the head's learning rate.

    Geometric, as in Howard and Ruder, "Universal Language Model Fine-tuning"
    (arXiv 1801.06146), section 3.2.

    Args:
        network: Whose parameters are grouped.
        discrimination: The first stage's share, above 0 and at most 1.
    """
    stages = network.body_stages()
    groups = [
        (stage, float(discrimination ** (1 - position / len(stages))))
        for position, stage in enumerate(stages)
    ]
    return groups + [(module, 1.0) for module in network.head_modules()]
