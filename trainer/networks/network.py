"""What every network offers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A classifier in two parts.

    ``features`` maps float [b, 3, h, w] to the last feature map, float [b, c, h', w'];
    ``head`` maps that to logits, float [b, classes].
    """

    def features(self, x: Tensor) -> Tensor:
        """Float [b, 3, h, w] to the last feature map, float [b, c, h', w']."""
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float [b, classes]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Float [b, 3, h, w] to logits, float [b, classes]."""
        return self.head(self.features(x))

    @torch.jit.unused
    def body_stages(self) -> Sequence[nn.Module]:
        """The modules of ``features`` from input to output: every parameter of the body once.

        Discriminative learning rates follow this order.
        """
        raise NotImplementedError

    @torch.jit.unused
    def head_modules(self) -> Sequence[nn.Module]:
        """The modules of ``head``: every parameter of the head once."""
        raise NotImplementedError
