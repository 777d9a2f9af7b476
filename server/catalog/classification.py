"""What a version answers about one image."""

from dataclasses import dataclass

from torch import Tensor

from models.class_activation import CamMethod
from models.manifest import Label
from server.pipeline.queue import CloseReason


@dataclass(frozen=True)
class Prediction:
    """A label with its position in the output and its calibrated probability."""

    index: int
    label: Label
    score: float


@dataclass(frozen=True)
class ExplainWish:
    """What to explain and how.

    Attributes:
        label_id: Of the label; empty: the best.
        method: How.
        overlay: Whether to colour the image, too.
    """

    label_id: str = ""
    method: CamMethod = CamMethod.GRAD_CAM
    overlay: bool = False


@dataclass(frozen=True)
class Explanation:
    """Where the model looked.

    Attributes:
        prediction: The label that is explained.
        map: float32 [h', w'], 0 to 1.
        overlay_png: The image as the model saw it, coloured by the map; empty if not wanted.
    """

    prediction: Prediction
    map: Tensor
    overlay_png: bytes


@dataclass(frozen=True)
class PredictionSet:
    """Labels of which the true one is one, with a stated probability.

    Attributes:
        coverage: That probability.
        predictions: The labels, best first; empty where none is sure enough.
    """

    coverage: float
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class NoveltyVerdict:
    """Whether an image is like the training images.

    Attributes:
        score: Larger is less alike.
        threshold: From the artifact.
    """

    score: float
    threshold: float

    @property
    def is_novel(self) -> bool:
        """Whether the image is like none of them."""
        return self.score > self.threshold


@dataclass(frozen=True)
class Classification:
    """The answer for one image.

    Attributes:
        predictions: Best first.
        best: The best label, whether or not its score is too small to be among them.
        image: uint8 [3, h, w], as the model saw it. It may lie in memory that is given away once
            the request is answered.
        decode_s: Seconds waiting for a decoder and decoding.
        queue_s: Seconds waiting for the batch and the engine.
        engine_s: Seconds of the engine's run over the batch.
        batch_size: Images in the batch.
        closed_by: Why the batch closed.
        predicted_s: Seconds that the engine's run was predicted to take.
        explanation: Where the model looked, if that was asked.
        abstain: Whether the model had better not answer; None where the artifact does not say.
        prediction_set: If it was asked for.
        novelty: Where the artifact and the engine can tell.
        shrunk_to: The side in pixels to which the image was shrunk, so that it had not to be
            refused; 0: it was not. What the artifact promises holds for its own size alone, so
            neither abstain nor a prediction set nor novelty is told then.
    """

    predictions: tuple[Prediction, ...]
    best: Prediction
    image: Tensor
    decode_s: float
    queue_s: float
    engine_s: float
    batch_size: int
    closed_by: CloseReason
    predicted_s: float
    explanation: Explanation | None = None
    abstain: bool | None = None
    prediction_set: PredictionSet | None = None
    novelty: NoveltyVerdict | None = None
    shrunk_to: int = 0
