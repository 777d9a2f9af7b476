"""What a caller gets: plain frozen dataclasses, free of protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from client.errors import ClientError

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label with its score.

    Attributes:
        index: The label's position in the model's output, from 0.
        id: The label's stable id, for example "cat".
        display_name: The label as people read it, for example "Cat".
        score: Calibrated probability, 0 to 1.
    """

    index: int
    id: str
    display_name: str
    score: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Time spent in each step on the server, in microseconds.

    Attributes:
        decode_us: Waiting for a decoder, checking, decoding and resizing.
        queue_us: Waiting for the batch to form and for the engine.
        engine_us: The model's run over the batch.
        total_us: From the request's arrival to its answer.
        batch_size: Images in the batch that this one was computed in.
        predicted_engine_us: What the model's run was predicted to take.
        batch_closed_by: "idle", "full", "delay", "deadline" or "drain"; see the proto.
    """

    decode_us: int
    queue_us: int
    engine_us: int
    total_us: int
    batch_size: int
    predicted_engine_us: int = 0
    batch_closed_by: str = ""


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """Labels of which the true one is one with probability `coverage`, best first.

    Empty where none is sure enough.
    """

    coverage: float
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class Novelty:
    """How unlike an image is to those that the model learned from.

    Attributes:
        is_novel: Whether it is unlike all of them: its labels mean little.
        score: Larger is less alike; comparable within a model version only.
        threshold: From where on an image is novel.
    """

    is_novel: bool
    score: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which parts of an image speak for a label: a class-activation map.

    Attributes:
        prediction: The label that is explained.
        map: Rows of numbers from 0 to 1, the largest 1, over the central square of the image;
            all 0 where nothing speaks for the label.
        overlay_png: The image as the model saw it, coloured by the map; empty if not asked for.
    """

    prediction: Prediction
    map: tuple[tuple[float, ...], ...]
    overlay_png: bytes = b""


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one image: `predictions`, best first, of `model` in `version`.

    Attributes:
        abstain: Whether a person had better decide; None where the model does not say.
        novelty: Whether the image is like those the model learned from; None where it cannot tell.
        prediction_set: Labels of which the true one is one, if that was asked.
        explanation: Which parts of the image speak for a label, if that was asked.
        digest: SHA-256 of the artifact's manifest, in hexadecimal: names exactly what answered.
        browned_out_side: The side in pixels to which the server shrank the image for lack of time,
            so that the answer is less sure; 0: it did not.
        from_cache: Whether it was computed for another request for the same.
    """

    model: str
    version: str
    predictions: tuple[Prediction, ...]
    timings: Timings
    request_id: str
    explanation: Explanation | None = None
    abstain: bool | None = None
    prediction_set: PredictionSet | None = None
    novelty: Novelty | None = None
    digest: str = ""
    browned_out_side: int = 0
    from_cache: bool = False


@dataclass(frozen=True, slots=True)
class Outcome(Generic[K]):
    """What became of one item of ``classify_many``: it has an answer or an error.

    Attributes:
        key: The caller's key.
        classification: The answer, or None.
        error: Why there is none, or None.
        round_trip_us: From handing the image to gRPC until its answer was here, in microseconds;
            for the first image that includes connecting. None where no answer came that way.
    """

    key: K
    classification: Classification | None = None
    error: ClientError | None = None
    round_trip_us: int | None = None

    def result(self) -> Classification:
        """Return the classification.

        Raises:
            ClientError: `error`, if the item failed.
        """
        if self.classification is None:
            raise self.error or ValueError("an outcome needs a classification or an error")
        return self.classification


@dataclass(frozen=True, slots=True)
class Label:
    """One thing that a model can answer: position from 0, stable id, name for people."""

    index: int
    id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class InputInfo:
    """What a model takes.

    Attributes:
        height: Pixels.
        width: Pixels.
        resize_rule: How a photograph becomes that size, for example "CENTER_CROP".
        crop_fraction: Side of the central crop as a share of the short side, 0 to 1.
    """

    height: int
    width: int
    resize_rule: str
    crop_fraction: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a model version can do on one server, as measured there.

    Attributes:
        batch_seconds: Seconds of a batch by its size, ascending.
        lanes: Batches that the device computes at the same time, of all its models.
        max_batch_size: Most images in a batch.
        device: "cpu" or "cuda".
        decode_s: Seconds of one decoder for an image; 0: not known.
        decoders: Images decoded at the same time.
    """

    batch_seconds: Mapping[int, float]
    lanes: int
    max_batch_size: int
    device: str
    decode_s: float
    decoders: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model version as it is served.

    Attributes:
        name: The model's name.
        version: A decimal integer.
        is_default: Whether it answers requests that name no version.
        state: LOADING, READY, DRAINING or FAILED.
        state_reason: Why it is FAILED; empty otherwise.
        version_labels: The version labels that point here, for example "latest".
        labels: What it can answer, in the order of the output.
        input: What it takes.
        network: For example "resnet9".
        created: When the artifact was made (UTC), if known.
        metrics: Figures on held-out images by name; shares from 0 to 1, losses in nats.
        digest: SHA-256 of the artifact's manifest, in hexadecimal.
        engine: What computes its batches: "torchscript", "cuda_graphs", "compiled" or "int8"; empty
            unless READY.
        data_fingerprint: SHA-256 over the digests of the images it was trained on.
        recipe: It was trained by, every key resolved; empty if the server does not tell.
        libraries: That trained it, with their versions.
        tuning: Where its batch times come from, "measured" or "read"; empty unless READY.
        capacity: What it can do on this server; None unless READY.
    """

    name: str
    version: str
    is_default: bool
    state: str
    state_reason: str
    version_labels: tuple[str, ...]
    labels: tuple[Label, ...]
    input: InputInfo
    network: str
    created: datetime | None
    metrics: Mapping[str, float]
    digest: str
    engine: str
    data_fingerprint: str = ""
    recipe: Mapping[str, object] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    tuning: str = ""
    capacity: Capacity | None = None
