"""BentoML: adaptive batching in each worker process; JSON with base64 over HTTP."""

import base64

import bentoml
from classifier import MAX_BATCH, WORKERS, Classifier, decode


@bentoml.service(workers=WORKERS, traffic={"timeout": 60, "max_concurrency": 1024})
class Served:
    """Decodes and classifies in the worker."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    # max_latency_ms is left at its default: a small one makes BentoML refuse under load.
    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def classify(self, photos: list[str]) -> list[list[tuple[int, float]]]:
        return self.classifier.classify([decode(base64.b64decode(photo)) for photo in photos])
