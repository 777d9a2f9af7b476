"""What an engine is, and what goes in and out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Work:
    """One image for the engine.

    Attributes:
        image: uint8 [3, h, w], the model's input size.
        top_k: How many labels are wanted, at least 1.
    """

    image: Tensor
    top_k: int


@dataclass(frozen=True)
class Scores:
    """The best labels of one image.

    Attributes:
        indices: Positions in the model's output, best first.
        values: Their calibrated probabilities.
    """

    indices: tuple[int, ...]
    values: tuple[float, ...]


class Engine(Protocol):
    """Computes batches. ``run`` blocks and may be called from several threads at once."""

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        """Scores for each image, or why there are none, in order.

        Raises:
            Exception: The batch as a whole failed.
        """
        ...
