"""What is fuzzed. A target returns, or raises the errors it documents; anything else is a find."""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from models.errors import ArtifactError, ImageError
from models.golden import load_golden
from models.image_header import ImageLimits
from models.manifest import MANIFEST_NAME, parse_manifest
from models.novelty import load_centroids, save_centroids
from models.preprocess import decode
from tests.artifacts import write_tiny_artifact
from tests.unit.models import images

# Small, so that an input that decodes does not take the time of a thousand that do not.
LIMITS = ImageLimits(max_pixels=250_000)
Target = Callable[[bytes], None]


def fuzz_decode(data: bytes) -> None:
    """Encoded bytes, at full size and scaled; of a PNG also with right checksums."""
    variants = [data]
    if data.startswith(images.PNG_SIGNATURE):
        variants.append(images.png_resealed(data))
    for variant in variants:
        for short_side in (None, 8):
            try:
                image = decode(variant, LIMITS, short_side)
            except ImageError:
                continue
            assert image.dtype == torch.uint8
            assert image.shape[0] == 3
            assert 0 < image.shape[1] * image.shape[2] <= LIMITS.max_pixels


def fuzz_manifest(data: bytes) -> None:
    """A manifest, golden samples, or the centroids of a model of three classes."""
    readers = [load_golden, partial(load_centroids, classes=3)]
    for reader in readers if data[:1] == b"P" else [parse_manifest]:
        with suppress(ArtifactError):
            reader(data)


def decode_seeds() -> dict[str, bytes]:
    """One image of each kind, as small as it can be."""
    small = images.photo(16, 12)
    return {
        "jpeg": images.encode(small, "JPEG", exif=b"Exif\0\0" + images.exif(6)),
        "jpeg-progressive": images.encode(small, "JPEG", progressive=True),
        "jpeg-cmyk": images.encode(images.photo(16, 12, "CMYK"), "JPEG"),
        "png": images.encode(small, "PNG", exif=images.exif(6)),
        "png-palette": images.encode(small.quantize(16), "PNG"),
        "png-apng": images.apng(),
        "webp": images.encode(small, "WEBP"),
        "webp-lossless": images.encode(small, "WEBP", lossless=True),
        "webp-alpha": images.encode(images.photo(16, 12, "RGBA"), "WEBP"),
        "webp-animated": images.animated_webp(),
    }


def manifest_seeds() -> dict[str, bytes]:
    """The tiny artifact's manifest and golden samples, and archives that are none."""
    with TemporaryDirectory() as room:
        folder = write_tiny_artifact(Path(room))
        manifest = (folder / MANIFEST_NAME).read_bytes()
        golden = (folder / "golden.npz").read_bytes()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", bytes(100_000))
    return {
        "manifest": json.dumps(json.loads(manifest)).encode(),
        "golden": golden,
        "centroids": save_centroids(torch.eye(3)),
        "bomb": bomb.getvalue(),
    }


TARGETS: dict[str, tuple[Target, Callable[[], dict[str, bytes]]]] = {
    "decode": (fuzz_decode, decode_seeds),
    "manifest": (fuzz_manifest, manifest_seeds),
}
