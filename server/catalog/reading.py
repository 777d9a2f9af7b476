"""What a version's scores mean, by its manifest."""

from math import isclose

from torch import Tensor

from models.manifest import Manifest, PredictionSets
from server.catalog.classification import (
    Classification,
    ExplainWish,
    Explanation,
    NoveltyVerdict,
    Prediction,
    PredictionSet,
)
from server.errors import InvalidRequestError
from server.pipeline.batcher import Answer
from server.pipeline.engine import Activation, Explain, Scores

_SAME_COVERAGE = 1e-4  # what a float32 makes of 0.9 is 0.9


class Reader:
    """Puts a request's wishes into the engine's numbers, and its numbers into labels."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def sets_of(self, coverage: float) -> PredictionSets:
        """How sets of that coverage are made.

        Raises:
            InvalidRequestError: The artifact does not offer them.
        """
        manifest = self._manifest
        offered = manifest.calibration.prediction_sets
        for sets in offered:
            if isclose(sets.coverage, coverage, abs_tol=_SAME_COVERAGE):
                return sets
        choice = ", ".join(f"{sets.coverage:g}" for sets in offered)
        raise InvalidRequestError(
            "coverage",
            f"must be one of {choice} for {manifest.name}"
            if offered
            else f"is not offered by {manifest.name} version {manifest.version}",
        )

    def explain_of(self, wish: ExplainWish) -> Explain:
        """What the engine is to explain.

        Raises:
            InvalidRequestError: The version has no such label.
        """
        if not wish.label_id:
            return Explain(None, wish.method)
        for index, label in enumerate(self._manifest.labels):
            if label.id == wish.label_id:
                return Explain(index, wish.method)
        raise InvalidRequestError(
            "explain.label_id", f"is no label of {self._manifest.name}: {wish.label_id[:64]!a}"
        )

    def classification(
        self,
        answer: Answer[Scores],
        image: Tensor,
        min_score: float,
        decode_s: float,
        explanation: Explanation | None,
        sets: PredictionSets | None,
    ) -> Classification:
        """The answer for one image.

        Args:
            answer: The engine's.
            image: uint8 [3, h, w], as the model saw it.
            min_score: Leaves out labels below it.
            decode_s: Seconds waiting for a decoder and decoding.
            explanation: If one was asked for.
            sets: How a prediction set is made, if one was asked for.
        """
        scores = answer.result
        pairs = zip(scores.indices, scores.values, strict=True)
        ranked = [self._prediction(index, score) for index, score in pairs]
        promised = not scores.shrunk_to  # promises hold for the artifact's own size alone
        return Classification(
            predictions=tuple(each for each in ranked if each.score >= min_score),
            best=ranked[0],
            image=image,
            decode_s=decode_s,
            queue_s=answer.queue_s,
            engine_s=answer.run_s,
            batch_size=answer.batch_size,
            closed_by=answer.reason,
            predicted_s=answer.predicted_s,
            explanation=explanation,
            abstain=self._abstains(scores) if promised else None,
            prediction_set=self._prediction_set(sets, scores) if promised and sets else None,
            novelty=self._novelty(scores) if promised else None,
            shrunk_to=scores.shrunk_to,
        )

    def explanation(self, activation: Activation, overlay_png: bytes) -> Explanation:
        """Where the model looked, with the label that is explained."""
        prediction = self._prediction(activation.label, activation.score)
        return Explanation(prediction, activation.map, overlay_png)

    def _prediction(self, index: int, score: float) -> Prediction:
        return Prediction(index, self._manifest.labels[index], score)

    def _prediction_set(self, sets: PredictionSets, scores: Scores) -> PredictionSet:
        members = (self._prediction(index, score) for index, score in scores.members)
        return PredictionSet(sets.coverage, tuple(members))

    def _abstains(self, scores: Scores) -> bool | None:
        rule = self._manifest.calibration.abstain
        return scores.values[0] < rule.threshold if rule else None

    def _novelty(self, scores: Scores) -> NoveltyVerdict | None:
        rule = self._manifest.novelty
        if rule is None or scores.novelty is None:
            return None
        return NoveltyVerdict(scores.novelty, rule.threshold)
