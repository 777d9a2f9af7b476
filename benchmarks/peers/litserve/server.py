"""LitServe: workers with a batching queue each; JSON with base64, as its documentation has it."""

import base64
import sys

import litserve
from classifier import MAX_BATCH, MAX_DELAY_S, NAMES, WORKERS, Classifier, decode


class Api(litserve.LitAPI):
    """Decodes and classifies in the worker."""

    model = 0

    def setup(self, _device):
        self.classifier = Classifier(self.model)

    def decode_request(self, request):
        return decode(base64.b64decode(request["image"]), self.classifier.side)

    def batch(self, images):
        return images

    def predict(self, images):
        return self.classifier.classify(images)

    def unbatch(self, answers):
        return answers

    def encode_response(self, answer):
        return {"predictions": answer}


def apis() -> list[Api]:
    """Return one for each model, the first where LitServe has it by default."""
    paths = ["/predict", *(f"/{name}" for name in NAMES[1:])]
    found = []
    for model, path in enumerate(paths):
        api = Api(max_batch_size=MAX_BATCH, batch_timeout=MAX_DELAY_S, api_path=path)
        api.model = model
        found.append(api)
    return found


if __name__ == "__main__":
    server = litserve.LitServer(apis(), accelerator="cpu", workers_per_device=WORKERS, timeout=60)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False
    )
