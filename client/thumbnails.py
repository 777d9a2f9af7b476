"""Small upright JPEGs of photos, for pages and notebooks. Needs Pillow (extra ``gallery``)."""

import io
import os
import warnings

from PIL import Image, ImageOps

_QUALITY = 78
# As the server: more pixels are refused there too.
_MOST_PIXELS = 100_000_000


def thumbnail(path: str | os.PathLike[str], size: int) -> bytes | None:
    """Return a JPEG of at most `size` pixels a side, upright; None if the photo is damaged."""
    try:
        with warnings.catch_warnings(), Image.open(path) as photo:
            warnings.simplefilter("ignore")  # of damaged metadata
            if photo.width * photo.height > _MOST_PIXELS:
                return None
            photo.draft("RGB", (size * 2, size * 2))
            upright = ImageOps.exif_transpose(photo)
            upright.thumbnail((size, size))
            small = io.BytesIO()
            _on_white(upright).save(small, "JPEG", quality=_QUALITY)
            return small.getvalue()
    except Exception:  # Pillow raises whatever its plugins do; a page without this picture is fine
        return None


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA", "P"):
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")
