"""ResNet9: four convolutions and two residual blocks, for small images.

The network of the Animals-10 system this project follows, which has it from
DAWNBench's fast CIFAR-10 entries (Page, "How to train your ResNet",
https://myrtle.ai/how-to-train-your-resnet/). 6,575,370 parameters at ten classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.networks.network import Network

_CHANNELS = 512


class ResNet9(Network):
    """Convolutions of 64, 128, 256 and 512 channels, residual blocks after 128 and 512.

    Args:
        classes: How many logits.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.convolution1 = _convolution(3, 64)
        self.convolution2 = _convolution(64, 128, pool=True)
        self.residual1 = Residual(128)
        self.convolution3 = _convolution(128, 256, pool=True)
        self.convolution4 = _convolution(256, _CHANNELS, pool=True)
        self.residual2 = Residual(_CHANNELS)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(_CHANNELS, classes)

    def features(self, x: Tensor) -> Tensor:
        """Float [b, 3, h, w] to [b, 512, h / 8, w / 8]."""
        x = self.residual1(self.convolution2(self.convolution1(x)))
        features: Tensor = self.residual2(self.convolution4(self.convolution3(x)))
        return features

    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float [b, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.pool(features).flatten(1)))
        return logits

    @torch.jit.unused
    def body_stages(self) -> Sequence[nn.Module]:
        """Convolutions and residual blocks in order."""
        return [
            self.convolution1,
            self.convolution2,
            self.residual1,
            self.convolution3,
            self.convolution4,
            self.residual2,
        ]

    @torch.jit.unused
    def head_modules(self) -> Sequence[nn.Module]:
        """The linear layer."""
        return [self.classifier]


class Residual(nn.Module):
    """Two convolutions of the same width, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels), *_convolution(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [b, channels, h, w] to the same shape."""
        out: Tensor = self.body(x) + x
        return out


def _convolution(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [
        # Its bias is idle before a batch norm; the source system has it, and its count.
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
