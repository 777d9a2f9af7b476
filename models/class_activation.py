"""Where a network looks: class-activation maps from ``features`` and ``head``.

The one implementation, for the trainer's report and the server alike. Imports torch.
"""

from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class CamMethod(StrEnum):
    """How a map is made of the head's gradient."""

    GRAD_CAM = "grad_cam"  # Selvaraju et al., arXiv 1610.02391
    GRAD_CAM_PLUS_PLUS = "grad_cam_plus_plus"  # Chattopadhay et al., arXiv 1710.11063


class Head(Protocol):
    """The second part of an exported model, eager or scripted."""

    def head(self, features: Tensor) -> Tensor:
        """The last feature map to logits, float32 [b, classes]."""
        ...


class FeaturesAndHead(Head, Protocol):
    """An exported model, eager or scripted."""

    def features(self, images: Tensor) -> Tensor:
        """uint8 [b, 3, h, w] to the last feature map, [b, c, h', w']."""
        ...


def class_activation_maps(
    model: FeaturesAndHead,
    images: Tensor,
    labels: Tensor,
    method: CamMethod = CamMethod.GRAD_CAM,
) -> Tensor:
    """Features once, then :func:`maps_of_features`.

    Args:
        model: An exported model in eval mode.
        images: uint8 [b, 3, h, w].
        labels: int64 [b], the class that each map is to explain.
        method: How.

    Returns:
        float32 [b, h', w'], 0 to 1.
    """
    with torch.no_grad():
        features = model.features(images)
    return maps_of_features(model, features, labels, method)


def maps_of_features(
    model: Head, features: Tensor, labels: Tensor, method: CamMethod = CamMethod.GRAD_CAM
) -> Tensor:
    """The head's gradient alone: what a map costs beyond the forward pass.

    Args:
        model: An exported model in eval mode.
        features: The last feature map, [b, c, h', w'].
        labels: int64 [b], the class that each map is to explain.
        method: How.

    Returns:
        float32 [b, h', w'], each map divided by its own maximum; zeros where nothing speaks
        for the class.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        # Tensors made in a caller's inference mode cannot be differentiated; copies can.
        inputs = features.detach().clone().requires_grad_()
        chosen = model.head(inputs).gather(1, labels.clone()[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, inputs)
    # bfloat16 is too coarse to sum hundreds of channels in.
    gradient, values = gradient.float(), features.float()
    weights = (
        _plus_plus_weights(gradient, values)
        if method is CamMethod.GRAD_CAM_PLUS_PLUS
        else gradient.mean(dim=(2, 3), keepdim=True)
    )
    maps = functional.relu((weights * values).sum(dim=1))
    peaks = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(peaks > 0, maps / peaks, 0.0)


def _plus_plus_weights(gradient: Tensor, values: Tensor) -> Tensor:
    """Equations 10 and 19 of arXiv 1710.11063, with exp(logit) as the score: [b, c, 1, 1]."""
    squared, cubed = gradient**2, gradient**3
    spread = 2 * squared + values.sum(dim=(2, 3), keepdim=True) * cubed
    shares = torch.where(spread != 0, squared / spread, 0.0)
    return (shares * functional.relu(gradient)).sum(dim=(2, 3), keepdim=True)
