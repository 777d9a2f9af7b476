"""Networks: each has ``features`` and ``head``, so that class-activation maps are nearly free."""

from trainer.networks.build import build
from trainer.networks.groups import learning_rate_groups
from trainer.networks.network import Network

__all__ = ["Network", "build", "learning_rate_groups"]
