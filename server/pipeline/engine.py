"""What an engine is, and what goes in and out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from models.class_activation import CamMethod

if TYPE_CHECKING:
    from server.telemetry.tracing import RequestTrace


@dataclass(frozen=True)
class Explain:
    """A wish for a class-activation map.

    Attributes:
        label: The label to explain, a position in the model's output; None: the best.
        method: How.
    """

    label: int | None = None
    method: CamMethod = CamMethod.GRAD_CAM


@dataclass(frozen=True)
class Activation:
    """A class-activation map.

    Attributes:
        label: What it explains, a position in the model's output.
        score: That label's calibrated probability.
        map: float32 [h', w'], 0 to 1, on the CPU.
    """

    label: int
    score: float
    map: Tensor


@dataclass(frozen=True)
class Work:
    """One image for the engine.

    Attributes:
        image: uint8 [3, h, w], the model's input size.
        top_k: How many labels are wanted, at least 1.
        explain: The map that is wanted, if one is.
        least_score: Of every label with at least this score, whatever ``top_k``, the answer is to
            tell; more than 1: of none.
        trace: Of its request, when it is traced.
    """

    image: Tensor
    top_k: int
    explain: Explain | None = None
    trace: "RequestTrace | None" = None
    least_score: float = 2.0


@dataclass(frozen=True)
class Scores:
    """The best labels of one image.

    Attributes:
        indices: Positions in the model's output, best first.
        values: Their calibrated probabilities.
        activation: The map, where one was wanted.
        members: Positions and scores of the labels with at least the least score, best first.
        novelty: How unlike the training images it is; None where the engine cannot tell.
        shrunk_to: The side in pixels to which the image was shrunk for lack of time; 0: it was not.
    """

    indices: tuple[int, ...]
    values: tuple[float, ...]
    activation: Activation | None = None
    members: tuple[tuple[int, float], ...] = ()
    novelty: float | None = None
    shrunk_to: int = 0


class Engine(Protocol):
    """Computes batches. ``run`` blocks and may be called from several threads at once."""

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        """Scores for each image, or why there are none, in order.

        Raises:
            Exception: The batch as a whole failed.
        """
        ...
