"""The images to send: read once, kept in memory, sent over and over in a mixed order."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from client.errors import ClientError
from client.images import ImageSource, image_bytes

MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Photos:
    """Encoded images.

    Attributes:
        images: Each at most once.
        left_out: How many there were beyond MOST_BYTES.
    """

    images: tuple[bytes, ...]
    left_out: int = 0

    def endless(self, seed: int) -> Iterator[bytes]:
        """Yield them for ever, in one random order, so that sizes are mixed all the time."""
        order = list(self.images)
        random.Random(seed).shuffle(order)  # noqa: S311 (repeatable, no secret)
        return cycle(order)


def read_photos(sources: Iterable[ImageSource]) -> Photos:
    """Read images up to MOST_BYTES in all.

    Raises:
        ClientError: One cannot be read, or there is none.
    """
    images: list[bytes] = []
    total, left_out = 0, 0
    for source in sources:
        if total > MOST_BYTES:
            left_out += 1
            continue
        images.append(image_bytes(source))
        total += len(images[-1])
    if not images:
        raise ClientError("there is no image to send", code="INVALID_ARGUMENT")
    return Photos(tuple(images), left_out)


def sizes_kb(images: Sequence[bytes]) -> tuple[float, float, float]:
    """Return the smallest, the middle and the largest size in kB."""
    sizes = sorted(len(image) / 1000 for image in images)
    return sizes[0], sizes[len(sizes) // 2], sizes[-1]
