"""A photo coloured by its class-activation map. Imports torch and Pillow."""

from io import BytesIO

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

_OPACITY = 0.5
# Every sixteenth colour of matplotlib's inferno (van der Walt and Smith, CC0).
_INFERNO = (
    "000004", "0b0724", "210c4a", "3d0965", "57106e", "71196e", "8a226a", "a32c61", "bc3754",
    "d24644", "e45a31", "f1731d", "f98e09", "fcac11", "f9cb35", "f2ea69", "fcffa4",
)  # fmt: skip


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
    mixed = image.cpu().float() * (1 - _OPACITY) + _inferno(enlarged.detach().cpu()) * _OPACITY
    return mixed.round().clamp(0, 255).to(torch.uint8)


def overlay_png(image: Tensor, activation: Tensor, least_side: int = 0) -> bytes:
    """The overlay as a PNG file.

    Args:
        image: uint8 [3, h, w].
        activation: float32 [h', w'], 0 to 1.
        least_side: Pixels: a smaller photo is enlarged to it, for people.
    """
    short = min(image.shape[1], image.shape[2])
    if short < least_side:
        size = [round(side * least_side / short) for side in image.shape[1:]]
        larger = functional.interpolate(image[None].float(), size, mode="bicubic")
        image = larger[0].round().clamp(0, 255).to(torch.uint8)
    buffer = BytesIO()
    pixels = overlay(image, activation).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _inferno(values: Tensor) -> Tensor:
    """float32 [h, w], 0 to 1, to float32 [3, h, w], 0 to 255."""
    table = torch.tensor([list(bytes.fromhex(colour)) for colour in _INFERNO]).float()
    place = values.clamp(0, 1) * (len(table) - 1)
    low = place.floor().long().clamp(max=len(table) - 2)
    share = (place - low)[..., None]
    return (table[low] * (1 - share) + table[low + 1] * share).permute(2, 0, 1)
