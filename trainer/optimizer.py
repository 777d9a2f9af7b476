"""The optimiser of a recipe: its parameter groups and their peak learning rates."""

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from trainer.networks import Network, learning_rate_groups
from trainer.recipe import FitSpec

ParameterGroup = dict[str, object]


def optimizer_of(fit: FitSpec, network: Network) -> Optimizer:
    """The optimiser, each group at its peak rate.

    Groups carry ``part``, "body" or "head". Biases and norms are not decayed.
    """
    groups = parameter_groups(fit, network)
    match fit.optimizer:
        case "sgd":
            return SGD(groups, lr=fit.max_learning_rate, momentum=0.9, nesterov=True)
        case "adam":
            return Adam(groups, lr=fit.max_learning_rate)
        case "adamw":
            return AdamW(groups, lr=fit.max_learning_rate)


def parameter_groups(fit: FitSpec, network: Network) -> list[ParameterGroup]:
    """One group for each stage and kind of parameter, from the input to the head."""
    head = set(network.head_modules())
    groups: list[ParameterGroup] = []
    for module, share in learning_rate_groups(network, fit.discrimination):
        for decayed in (True, False):
            parameters = list(_select(module, decayed=decayed))
            if parameters:
                groups.append(
                    {
                        "params": parameters,
                        "lr": fit.max_learning_rate * share,
                        "weight_decay": fit.weight_decay if decayed else 0.0,
                        "part": "head" if module in head else "body",
                    }
                )
    return groups


def _select(module: nn.Module, *, decayed: bool) -> Iterable[nn.Parameter]:
    """Weights of convolutions and linear layers have more than one dimension."""
    return (parameter for parameter in module.parameters() if (parameter.ndim > 1) == decayed)
