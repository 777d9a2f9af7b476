"""NVIDIA Triton through pytriton: dynamic batching, an instance for each worker; OIP over gRPC."""

import sys

import numpy as np
from classifier import MAX_BATCH, MAX_DELAY_S, NAMES, WORKERS, Classifier, decode
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from tritonclient.utils import InferenceServerException

_ATTEMPTS = 10


def instance(classifier: Classifier):
    """Return what one instance runs on a batch."""

    @batch
    def classify(photo: np.ndarray) -> dict[str, np.ndarray]:
        images = [decode(data, classifier.side) for data in photo[:, 0]]
        answers = np.array(classifier.classify(images))
        return {"labels": answers[..., 0].astype(np.int64), "scores": answers[..., 1].astype("f4")}

    return classify


def main(port: int) -> None:
    """Serve until SIGTERM."""
    classifiers = [Classifier(model) for model in range(len(NAMES))]
    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=port,
        http_address="127.0.0.1",
        http_port=port + 1,
        metrics_port=port + 2,
    )
    with Triton(config=config) as triton:
        for name, classifier in zip(NAMES, classifiers, strict=True):
            triton.bind(
                model_name=name,
                infer_func=[instance(classifier) for _ in range(WORKERS)],
                inputs=[Tensor(name="photo", dtype=bytes, shape=(1,))],
                outputs=[
                    Tensor(name="labels", dtype=np.int64, shape=(-1,)),
                    Tensor(name="scores", dtype=np.float32, shape=(-1,)),
                ],
                config=ModelConfig(
                    max_batch_size=MAX_BATCH,
                    batcher=DynamicBatcher(max_queue_delay_microseconds=round(MAX_DELAY_S * 1e6)),
                ),
            )
        triton.serve()


def persistently(port: int) -> None:
    """Start again when the handshake fails: pytriton waits just a second for it, which a busy
    machine may not give."""
    for _ in range(_ATTEMPTS):
        try:
            main(port)
            break
        except InferenceServerException as error:
            print(error, file=sys.stderr)


if __name__ == "__main__":
    persistently(int(sys.argv[1]))
