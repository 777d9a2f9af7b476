"""VGG16's convolutional base under a small head of its own.

Simonyan and Zisserman (arXiv 1409.1556), configuration D; the base is torchvision's,
so that its published weights fit. 14,982,474 parameters at ten classes.
"""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn

from trainer.networks.network import Network

_CHANNELS = 512


class Vgg16(Network):
    """Thirteen convolutions, global average pooling, a dense layer, a linear layer.

    Args:
        classes: How many logits.
        hidden: Units of the dense layer.
        dropout: Share of the dense layer's outputs dropped in training.
    """

    def __init__(self, classes: int, hidden: int = 512, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = _base()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(_CHANNELS, hidden)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, classes)

    def features(self, x: Tensor) -> Tensor:
        """Float [b, 3, h, w] to [b, 512, h / 32, w / 32]."""
        features: Tensor = self.base(x)
        return features

    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float [b, classes]."""
        hidden = self.activation(self.dense(self.pool(features).flatten(1)))
        logits: Tensor = self.classifier(self.dropout(hidden))
        return logits

    @torch.jit.unused
    def body_stages(self) -> Sequence[nn.Module]:
        """The five blocks, each up to its pooling layer."""
        blocks: list[nn.Module] = []
        start = 0
        for position, layer in enumerate(self.base):
            if isinstance(layer, nn.MaxPool2d):
                blocks.append(self.base[start : position + 1])
                start = position + 1
        return blocks

    @torch.jit.unused
    def head_modules(self) -> Sequence[nn.Module]:
        """The two dense layers."""
        return [self.dense, self.classifier]


def _base() -> nn.Sequential:
    """torchvision's convolutional base, initialised as torchvision does.

    Its classifier, eight times as large, never gets memory: on the meta device it has none.
    """
    with torch.device("meta"):
        base: nn.Sequential = torchvision.models.vgg16(weights=None, init_weights=False).features
    base.to_empty(device="cpu")
    for layer in base:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return base
