"""From uint8 pixels to the network's float input: inside the module, so that it cannot drift."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """uint8 [b, 3, h, w] to float32: scaled to 0..1, mean subtracted, divided by deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [b, 3, h, w] to float32 [b, 3, h, w]."""
        return (images.float() / 255.0 - self.mean) / self.std
