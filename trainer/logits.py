"""What a module says of many photos. Imports torch alone: a fresh process checks with it."""

from typing import cast

import torch
from torch import Tensor, nn


def logits_of(module: nn.Module, inputs: Tensor, batch_size: int = 64) -> Tensor:
    """Run a module over uint8 [n, 3, h, w]: logits, float32 [n, classes]."""
    with torch.no_grad():
        return torch.cat([cast(Tensor, module(batch)) for batch in inputs.split(batch_size)])
