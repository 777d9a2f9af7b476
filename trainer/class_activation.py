"""Where a network looks: Grad-CAM from ``features`` and ``head``."""

from typing import Protocol

import matplotlib
import torch
from torch import Tensor
from torch.nn import functional

_OPACITY = 0.5


class FeaturesAndHead(Protocol):
    """An exported model, eager or scripted."""

    def features(self, images: Tensor) -> Tensor:
        """uint8 [b, 3, h, w] to the last feature map, [b, c, h', w']."""
        ...

    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float32 [b, classes]."""
        ...


def class_activation_maps(model: FeaturesAndHead, images: Tensor, labels: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al., arXiv 1610.02391): features once, then the head's gradient.

    Args:
        model: An exported model in eval mode.
        images: uint8 [b, 3, h, w].
        labels: int64 [b], the class that each map is to explain.

    Returns:
        float32 [b, h', w'], each map divided by its own maximum; zeros where nothing speaks
        for the class.
    """
    with torch.no_grad():
        features = model.features(images)
    with torch.inference_mode(mode=False), torch.enable_grad():
        # Tensors made in a caller's inference mode cannot be differentiated; copies can.
        inputs = features.detach().clone().requires_grad_()
        chosen = model.head(inputs).gather(1, labels.clone()[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, inputs)
    # bfloat16 is too coarse to sum hundreds of channels in.
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    maps = functional.relu((weights * features.float()).sum(dim=1))
    peaks = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(peaks > 0, maps / peaks, 0.0)


def overlay(image: Tensor, activation: Tensor) -> Tensor:
    """Colour a photo by its map.

    Args:
        image: uint8 [3, h, w].
        activation: float32 [h', w'], 0 to 1.

    Returns:
        uint8 [3, h, w].
    """
    size = (image.shape[1], image.shape[2])
    enlarged = functional.interpolate(activation[None, None], size, mode="bilinear")[0, 0]
    colours = matplotlib.colormaps["inferno"](enlarged.detach().cpu().numpy())[:, :, :3]
    heat = torch.from_numpy(colours).permute(2, 0, 1).float() * 255
    mixed = image.cpu().float() * (1 - _OPACITY) + heat * _OPACITY
    return mixed.round().clamp(0, 255).to(torch.uint8)
