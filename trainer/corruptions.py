"""How accuracy falls when photos are worse than those of the data set.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations" (arXiv 1903.12261): what happens to photos in daily life, mild and strong.
Applied to the network's input, so that "strong" means the same for photos of any size.
"""

from collections.abc import Callable
from functools import partial

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from models.class_activation import FeaturesAndHead
from trainer.evaluate import wilson_interval

_MOST = 500  # photos: the interval of a share is then at most 4.5 points either way
_BATCH = 64
_SEED = 0

Corruption = Callable[[Tensor], Tensor]


class CorruptionFigures(BaseModel):
    """Accuracy on test photos that were made worse.

    Attributes:
        name: What was done.
        strength: "none", "mild" or "strong".
        images: How many photos.
        accuracy: Share that is right.
        accuracy_low: Lower end of its 95% Wilson interval.
        accuracy_high: Upper end.
        mean_score: Mean best score: above the accuracy, the model is too sure of itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    strength: str
    images: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    mean_score: float


def corruptions() -> dict[str, tuple[Corruption, Corruption]]:
    """Mild and strong versions of each corruption: uint8 [b, 3, h, w] to the same."""
    return {
        "blur": (partial(_blur, share=0.008), partial(_blur, share=0.02)),
        "noise": (partial(_noise, deviation=15.0), partial(_noise, deviation=40.0)),
        "JPEG": (partial(_jpeg, quality=25), partial(_jpeg, quality=8)),
        "dark": (partial(_dark, factor=0.5), partial(_dark, factor=0.2)),
        "crop": (partial(_crop, share=0.75), partial(_crop, share=0.5)),
        "rotation": (partial(_rotate, degrees=15.0), partial(_rotate, degrees=45.0)),
        "grey": (_grey, partial(_grey_faded, contrast=0.4)),
    }


def robustness(
    module: FeaturesAndHead, inputs: Tensor, labels: Tensor, temperature: float
) -> tuple[CorruptionFigures, ...]:
    """Accuracy under every corruption, on evenly spread test photos.

    Args:
        module: Scripted, on the CPU.
        inputs: uint8 [n, 3, h, w].
        labels: int64 [n].
        temperature: From logits to scores.
    """
    chosen = torch.linspace(0, len(labels) - 1, min(_MOST, len(labels))).round().long()
    inputs, labels = inputs[chosen], labels[chosen]

    def figures(name: str, strength: str, corrupt: Corruption) -> CorruptionFigures:
        logits = _logits(module, inputs, corrupt)
        scores = torch.softmax(logits / temperature, dim=1)
        right = int((logits.argmax(dim=1) == labels).sum())
        low, high = wilson_interval(right, len(labels))
        return CorruptionFigures(
            name=name,
            strength=strength,
            images=len(labels),
            accuracy=right / len(labels),
            accuracy_low=low,
            accuracy_high=high,
            mean_score=float(scores.amax(dim=1).mean()),
        )

    found = [figures("none", "none", lambda images: images)]
    for name, (mild, strong) in corruptions().items():
        found += [figures(name, "mild", mild), figures(name, "strong", strong)]
    return tuple(found)


def _logits(module: FeaturesAndHead, inputs: Tensor, corrupt: Corruption) -> Tensor:
    with torch.no_grad():
        return torch.cat(
            [module.head(module.features(corrupt(batch))) for batch in inputs.split(_BATCH)]
        )


def _blur(images: Tensor, share: float) -> Tensor:
    """Gaussian, its deviation a share of the side."""
    deviation = share * images.shape[-1]
    width = 2 * round(3 * deviation) + 1
    changed: Tensor = transforms.gaussian_blur(images, [width, width], [deviation, deviation])
    return changed


def _noise(images: Tensor, deviation: float) -> Tensor:
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(images.shape, generator=generator) * deviation
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def _jpeg(images: Tensor, quality: int) -> Tensor:
    return torch.stack([transforms.jpeg(image, quality) for image in images])


def _dark(images: Tensor, factor: float) -> Tensor:
    changed: Tensor = transforms.adjust_brightness(images, factor)
    return changed


def _crop(images: Tensor, share: float) -> Tensor:
    """The middle alone, enlarged: a photo taken too near."""
    side, inner = images.shape[-1], round(images.shape[-1] * share)
    changed: Tensor = transforms.resize(
        transforms.center_crop(images, [inner]), [side, side], antialias=True
    )
    return changed


def _rotate(images: Tensor, degrees: float) -> Tensor:
    changed: Tensor = transforms.rotate(images, degrees, interpolation=InterpolationMode.BILINEAR)
    return changed


def _grey(images: Tensor) -> Tensor:
    changed: Tensor = transforms.rgb_to_grayscale(images, num_output_channels=3)
    return changed


def _grey_faded(images: Tensor, contrast: float) -> Tensor:
    changed: Tensor = transforms.adjust_contrast(_grey(images), contrast)
    return changed
