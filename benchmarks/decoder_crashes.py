"""Which decoders survive damage: ``python -m benchmarks.decoder_crashes``.

Each damaged copy of a small image is decoded in a process of its own; what ends by a signal has
crashed. One byte of a copy is changed at random; of PNGs the checksums are made right again in
a second round, so that the damage reaches the decoder.
"""

import io
import os
import random
import resource
import sys
from collections.abc import Callable
from multiprocessing import Pipe

import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_gif, decode_jpeg, decode_png, decode_webp

from models.image_header import ImageLimits
from models.preprocess import decode
from tests.unit.models import images

COPIES = 150
SEED = 20
LIMITS = ImageLimits(max_pixels=1_000_000)


def with_pillow(data: bytes) -> None:
    """Pillow, as it comes."""
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").load()


def with_torchvision(decoder: Callable[..., torch.Tensor]) -> Callable[[bytes], None]:
    """torchvision's decoder of a format."""

    def run(data: bytes) -> None:
        tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        decoder(tensor) if decoder is decode_gif else decoder(tensor, mode=ImageReadMode.RGB)

    return run


def with_ours(data: bytes) -> None:
    """What the server and the trainer do."""
    decode(data, LIMITS)


def photo(image_format: str, mode: str = "RGB") -> bytes:
    """A picture of 48 x 32 pixels."""
    return images.encode(images.photo(mode=mode), image_format)


CASES = {
    "JPEG": (photo("JPEG"), decode_jpeg),
    "PNG": (photo("PNG"), decode_png),
    "PNG, palette": (images.encode(images.photo().quantize(64), "PNG"), decode_png),
    "WebP": (photo("WEBP"), decode_webp),
    "GIF": (photo("GIF"), decode_gif),
}


def damaged(data: bytes) -> list[bytes]:
    """Copies of which one byte is another."""
    chance = random.Random(SEED)
    copies = []
    for _ in range(COPIES):
        copy = bytearray(data)
        copy[chance.randrange(len(copy))] ^= chance.randrange(1, 256)
        copies.append(bytes(copy))
    return copies


def outcomes(decoder: Callable[[bytes], None], copies: list[bytes]) -> tuple[int, int, int]:
    """How many crashed, were refused, were decoded."""
    crashed = refused = 0
    for copy in copies:
        receive, send = Pipe(duplex=False)
        child = os.fork()  # this process has one thread
        if child == 0:
            try:
                decoder(copy)
            except Exception:
                send.send(True)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        crashed += os.WIFSIGNALED(status)
        refused += receive.poll()
        receive.close()
        send.close()
    return crashed, refused, len(copies) - crashed - refused


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump takes a second
    # Their complaints about damage are not the point.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    print(f"| {COPIES} damaged copies | decoder | crashed | refused | decoded |")
    print("|---|---|---:|---:|---:|")
    for name, (data, native) in CASES.items():
        rounds = {name: damaged(data)}
        if name.startswith("PNG"):
            rounds[f"{name}, checksums right"] = [
                images.png_resealed(copy) for copy in damaged(data)
            ]
        for label, copies in rounds.items():
            for decoder_name, decoder in (
                ("torchvision", with_torchvision(native)),
                ("Pillow", with_pillow),
                ("models.preprocess", with_ours),
            ):
                crashed, refused, decoded = outcomes(decoder, copies)
                print(f"| {label} | {decoder_name} | {crashed} | {refused} | {decoded} |")


if __name__ == "__main__":
    main()
