"""ResNet18, 34 and 50 as in torchvision, under a head of our own.

He et al., "Deep Residual Learning for Image Recognition" (arXiv 1512.03385). The
body's tensors keep torchvision's names, so that its published weights fit.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torchvision
from torch import Tensor, nn

from trainer.networks.network import Network

_BUILDERS = {
    "resnet18": torchvision.models.resnet18,
    "resnet34": torchvision.models.resnet34,
    "resnet50": torchvision.models.resnet50,
}


class TorchvisionResNet(Network):
    """torchvision's body, global average pooling, dropout, a linear layer.

    Args:
        name: Which depth.
        classes: How many logits.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(
        self, name: Literal["resnet18", "resnet34", "resnet50"], classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        body = _BUILDERS[name](weights=None)
        channels = int(body.fc.in_features)
        body.fc = nn.Identity()
        self.base = body
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)

    def features(self, x: Tensor) -> Tensor:
        """Float [b, 3, h, w] to [b, 512 or 2048, h / 32, w / 32]."""
        base = self.base
        x = base.maxpool(base.relu(base.bn1(base.conv1(x))))
        features: Tensor = base.layer4(base.layer3(base.layer2(base.layer1(x))))
        return features

    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float [b, classes]."""
        pooled = self.base.avgpool(features).flatten(1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    @torch.jit.unused
    def body_stages(self) -> Sequence[nn.Module]:
        """The stem and the four stages."""
        base = self.base
        stem = nn.Sequential(base.conv1, base.bn1)
        return [stem, base.layer1, base.layer2, base.layer3, base.layer4]

    @torch.jit.unused
    def head_modules(self) -> Sequence[nn.Module]:
        """The linear layer."""
        return [self.classifier]
