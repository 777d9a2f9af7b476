"""What the report, the audit's page and the review page have in common: one file, no network."""

import base64
from importlib.resources import files
from io import BytesIO

from jinja2 import Environment, StrictUndefined, Template
from PIL import Image
from torch import Tensor

_SIDE = 160  # pixels of a thumbnail
_QUALITY = 82


def template(package: str, name: str) -> Template:
    """A page's template; what comes from outside (class names, paths, recipes) is escaped.

    Args:
        package: In which it lies.
        name: Its file.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(files(package).joinpath(name).read_text(encoding="utf-8"))


def thumbnail(image: Tensor) -> str:
    """uint8 [3, h, w] as a small JPEG in a data URI."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((_SIDE, _SIDE))
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return data_uri("jpeg", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """A picture as a page holds it; ``kind`` is "jpeg" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
