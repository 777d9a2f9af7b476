"""A residual network of any depth and width, for small images and small artifacts.

Basic blocks as in He et al., "Deep Residual Learning for Image Recognition"
(arXiv 1512.03385); average-pooled shortcuts and a stem of small convolutions as
in He et al., "Bag of Tricks" (arXiv 1812.01187), variants C and D.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.networks.network import Network


class ResNet(Network):
    """Stem, stages of basic blocks, global average pooling, linear head.

    Args:
        depths: Blocks per stage; each stage after the first halves the resolution.
        widths: Channels per stage.
        classes: How many logits.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(
        self, depths: Sequence[int], widths: Sequence[int], classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.stem = _stem(widths[0])
        blocks: list[nn.Module] = []
        channels = widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        _initialise(self)

    def features(self, x: Tensor) -> Tensor:
        """Float [b, 3, h, w] to [b, widths[-1], h', w'], a 4 * 2^(stages - 1) of the size."""
        features: Tensor = self.blocks(self.stem(x))
        return features

    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float [b, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.pool(features).flatten(1)))
        return logits

    @torch.jit.unused
    def body_stages(self) -> Sequence[nn.Module]:
        """The stem and each block."""
        return [self.stem, *self.blocks]

    @torch.jit.unused
    def head_modules(self) -> Sequence[nn.Module]:
        """The linear layer."""
        return [self.classifier]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, 3, stride),
            nn.ReLU(inplace=True),
            *_convolution(outputs, outputs, 3),
        )
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Float [b, inputs, h, w] to [b, outputs, h / stride, w / stride]."""
        out: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return out


def _stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        *_convolution(3, width // 2, 3, 2),
        nn.ReLU(inplace=True),
        *_convolution(width // 2, width, 3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, padding=1),
    )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, *_convolution(inputs, outputs, 1))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            # Each block starts as its shortcut (Goyal et al., arXiv 1706.02677, section 5.1).
            last_norm = module.body[-1]
            if isinstance(last_norm, nn.BatchNorm2d):
                nn.init.zeros_(last_norm.weight)
