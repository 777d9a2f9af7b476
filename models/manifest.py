"""The manifest: every fact about an artifact, in one JSON file.

Imports the errors, the reading of files, and pydantic.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from models.errors import IntegrityError, ManifestError
from models.files import read_regular

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.pt"
TWIN_NAME = "model.pt2"
GOLDEN_NAME = "golden.npz"
NOVELTY_NAME = "novelty.npz"
CHANNELS = 3

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
VERSION_PATTERN = r"^[0-9]{1,18}$"
MAX_MANIFEST_BYTES = 16 * 2**20
FILE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
_SHA256_PATTERN = r"^[0-9a-f]{64}$"

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ResizeRule(StrEnum):
    """How a photograph becomes the input's size."""

    CENTER_CROP = "center_crop"


class Label(_Frozen):
    """One thing the model can answer; its index is its position in the list.

    Attributes:
        id: Stable, for programs, for example "cat".
        display_name: For people, for example "Cat".
    """

    id: str = Field(min_length=1, max_length=128)
    display_name: str = Field(min_length=1, max_length=128)


class NoveltyMethod(StrEnum):
    """What tells an image that is like none of the training images."""

    FEATURE_DISTANCE = "feature_distance"  # cosine distance to the nearest class's mean features
    ENERGY = "energy"  # of the logits (Liu et al., arXiv 2010.03759)


class InputSpec(_Frozen):
    """The model's input: uint8 [3, height, width], RGB.

    ``mean`` and ``std`` (of values scaled to 0..1) are inside the module already;
    they stand here for people and for checks.

    Attributes:
        height: Pixels.
        width: Pixels; as many.
        resize_rule: How a photograph becomes that size.
        crop_fraction: Side of the central square as a share of the short side.
        mean: Of each channel of the training images, values scaled to 0..1.
        std: Standard deviation of each, likewise.
        colour: Order of the channels.
    """

    height: int = Field(ge=8, le=4096)
    width: int = Field(ge=8, le=4096)
    resize_rule: ResizeRule = ResizeRule.CENTER_CROP
    crop_fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    colour: Literal["RGB"] = "RGB"

    @property
    def pixels(self) -> tuple[int, int, str, float, str]:
        """What makes the pixels of a photograph: mean and deviation come after."""
        return self.height, self.width, self.resize_rule, self.crop_fraction, self.colour

    @model_validator(mode="after")
    def _square(self) -> Self:
        if self.height != self.width:
            raise ValueError("height and width must be equal: the crop is a square")
        return self


class Metrics(_Frozen):
    """Figures on held-out images, computed by the module that is published.

    Attributes:
        images: How many images were scored.
        accuracy: Share of images whose best label is right.
        accuracy_low: Lower end of the 95% Wilson interval.
        accuracy_high: Upper end of it.
        log_loss: Mean negative log probability of the true label, in nats, after calibration.
        expected_calibration_error: 15 equal-width bins, after calibration.
    """

    images: int = Field(ge=1)
    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share
    log_loss: float = Field(ge=0.0, allow_inf_nan=False)
    expected_calibration_error: Share


class Abstain(_Frozen):
    """From which best score on the model's answers have a stated risk.

    Attributes:
        threshold: Answers with a smaller best score are better left to a person.
        risk: Share of the other answers that are wrong, at most.
        confidence: Probability that this holds of new photos like the held-out ones.
        coverage: Share of the held-out photos that are answered.
    """

    threshold: Share
    risk: Share
    confidence: Share
    coverage: Share


class PredictionSets(_Frozen):
    """Sets of labels that hold the true one with a stated probability (split conformal).

    Attributes:
        coverage: That probability.
        least_score: A label with at least this score is in the set.
    """

    coverage: Annotated[float, Field(gt=0.0, lt=1.0)]
    least_score: Share


class Calibration(_Frozen):
    """How logits become scores and what may be said of them.

    Attributes:
        temperature: softmax(logits / temperature) are the scores (Guo et al. 2017).
        abstain: When not to answer; None where no threshold could be found.
        prediction_sets: By coverage; empty in artifacts of earlier releases.
    """

    temperature: Positive = 1.0
    abstain: Abstain | None = None
    prediction_sets: tuple[PredictionSets, ...] = ()


class Novelty(_Frozen):
    """When an image is like none that the model learned from; see ``models.novelty``.

    Attributes:
        method: How the novelty score is computed.
        threshold: Images with a larger one are novel.
        expected_share: Share of ordinary held-out images above it.
        others: How many images of other things it was tried on.
        auroc: Area under the ROC curve of telling those from held-out images; None without any.
        detected_share: Share of those above the threshold; None without any.
    """

    method: NoveltyMethod
    threshold: Finite
    expected_share: Share
    others: int = Field(default=0, ge=0)
    auroc: Share | None = None
    detected_share: Share | None = None


class Golden(_Frozen):
    """What the golden samples in ``golden.npz`` demand of a loaded module.

    Attributes:
        samples: How many there are.
        score_tolerance_fp32: Largest absolute difference of a score in fp32.
        score_tolerance_bf16: The same when the body runs in bfloat16.
    """

    samples: int = Field(ge=1)
    score_tolerance_fp32: Positive
    score_tolerance_bf16: Positive


class Int8(_Frozen):
    """The network in int8, which a server may compute instead; see ``models.int8``.

    Attributes:
        ranges: Least and largest value of each layer's input, by its weight's name in the twin.
        images: Held-out ones that it was tried on.
        accuracy: Share of them whose best label is right.
        accuracy_fp32: The same of the published weights, on the same images.
        log_loss: Mean negative log probability of the true label, in nats, after calibration.
        score_tolerance: Largest absolute difference of a golden sample's score.
    """

    ranges: dict[str, tuple[Finite, Finite]] = Field(min_length=1)
    images: int = Field(ge=1)
    accuracy: Share
    accuracy_fp32: Share
    log_loss: float = Field(ge=0.0, allow_inf_nan=False)
    score_tolerance: Positive

    @model_validator(mode="after")
    def _hold_zero(self) -> Self:
        for name, (low, high) in self.ranges.items():
            if not low <= 0.0 <= high:
                raise ValueError(f"ranges: {name}'s must hold zero")
        return self


class Histogram(_Frozen):
    """Shares of images by value.

    Attributes:
        edges: Ends of the bins, ascending; the first and last are the ends of the scale.
        shares: Of the images in each bin; they add up to 1.
    """

    edges: tuple[Finite, ...] = Field(min_length=2)
    shares: tuple[Share, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.edges) != len(self.shares) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("edges must ascend and be one more than shares")
        return self


class Reference(_Frozen):
    """What ordinary images look like to this model: held-out ones, for watching drift.

    Attributes:
        images: How many images were looked at.
        best_score: The best label's score, after calibration.
        brightness: Mean of all pixels and channels of the input, 0 to 255.
        labels: Share of images that were given each label, in the order of the labels.
        contrast: Standard deviation of all pixels and channels of the input, 0 to 128.
        saturation: Mean over the pixels of their largest less their smallest channel, 0 to 255.
        detail: Mean difference of neighbouring pixels in a row, over the contrast, 0 to 2.
        novelty: The novelty score.
        image_bytes: Bytes of the images as files.
    """

    images: int = Field(ge=1)
    best_score: Histogram
    brightness: Histogram
    labels: tuple[Share, ...]
    contrast: Histogram | None = None
    saturation: Histogram | None = None
    detail: Histogram | None = None
    novelty: Histogram | None = None
    image_bytes: Histogram | None = None


class FileEntry(_Frozen):
    """One file of the artifact.

    Attributes:
        sha256: In hexadecimal.
        size_bytes: Its length.
    """

    sha256: str = Field(pattern=_SHA256_PATTERN)
    size_bytes: int = Field(ge=0)


class Manifest(_Frozen):
    """A self-describing artifact.

    Attributes:
        schema_version: Layout of this file; readers refuse what is newer than they are.
        name: The model's name.
        version: Monotonic decimal integer.
        created: When it was published, with its UTC offset.
        labels: In the order of the output.
        input: What the module takes.
        network: The architecture, in a word.
        parameters: How many trainable parameters.
        dtype: The dtype of the published weights; the server casts at load.
        metrics: On held-out images.
        class_recalls: Share of the held-out images of each class that were given its label.
        reference: Distributions on held-out images that traffic can be held against.
        forced: Why it was published although it failed a gate.
        calibration: From logits to scores.
        novelty: When an image is like none of the training images.
        golden: Samples that a loaded module must reproduce.
        int8: How the twin is computed in int8; None where that was not measured, or is worse.
        data_fingerprint: SHA-256 over the training images' digests.
        recipe: The resolved recipe, as it was run.
        libraries: Versions that trained and exported it.
        files: Every other file of the artifact.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1, lt=10**18)
    created: AwareDatetime
    labels: tuple[Label, ...] = Field(min_length=2)
    input: InputSpec
    network: str = Field(min_length=1)
    parameters: int = Field(ge=1)
    dtype: Literal["float32"] = "float32"
    metrics: Metrics
    class_recalls: tuple[Share, ...] = ()
    reference: Reference | None = None
    forced: str | None = None
    calibration: Calibration
    novelty: Novelty | None = None
    golden: Golden
    int8: Int8 | None = None
    data_fingerprint: str = Field(pattern=_SHA256_PATTERN)
    recipe: dict[str, object]
    libraries: dict[str, str]
    files: dict[Annotated[str, Field(pattern=FILE_PATTERN)], FileEntry]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [label.id for label in self.labels]
        if len(set(ids)) != len(ids):
            raise ValueError("labels: ids must be unique")
        missing = {MODEL_NAME, GOLDEN_NAME} - self.files.keys()
        if missing:
            raise ValueError(f"files: {', '.join(sorted(missing))} must be listed")
        per_label = [self.class_recalls, self.reference.labels if self.reference else ()]
        if any(len(values) not in (0, len(ids)) for values in per_label):
            raise ValueError("class_recalls and reference.labels must have one entry per label")
        by_features = self.novelty and self.novelty.method is NoveltyMethod.FEATURE_DISTANCE
        if by_features and NOVELTY_NAME not in self.files:
            raise ValueError(f"files: {NOVELTY_NAME} must be listed")
        if self.int8 and TWIN_NAME not in self.files:
            raise ValueError(f"files: {TWIN_NAME} must be listed")
        if {MANIFEST_NAME, "model.sig"} & self.files.keys():
            raise ValueError("files: the manifest cannot list itself, nor its signature")
        return self


class _SchemaProbe(BaseModel):
    schema_version: int


def parse_manifest(data: bytes) -> Manifest:
    """Parse and validate a manifest.

    Raises:
        ManifestError: Malformed, inconsistent, or of a newer schema than this code knows.
    """
    try:
        found = _SchemaProbe.model_validate_json(data).schema_version
        if found > SCHEMA_VERSION:
            raise ManifestError(
                f"manifest has schema version {found}; this release reads up to {SCHEMA_VERSION}"
            )
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'manifest'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise ManifestError(f"manifest is invalid: {problems}") from error


def read_manifest(folder: Path) -> Manifest:
    """Read ``folder``'s manifest.

    Raises:
        ManifestError: Missing, unreadable or invalid.
    """
    return parse_manifest(read_manifest_bytes(folder))


def read_manifest_bytes(folder: Path) -> bytes:
    """Read ``folder``'s manifest file.

    Raises:
        ManifestError: Missing, a link, too long or unreadable.
    """
    try:
        return read_regular(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)
    except IntegrityError as error:
        raise ManifestError(str(error)) from error
