"""What every network offers."""

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
