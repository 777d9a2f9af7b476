"""MLServer's custom runtime. Adaptive batching joins requests before they reach a worker."""

from classifier import NAMES, Classifier, decode
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Runtime(MLModel):
    """Takes JPEGs as BYTES [n, 1], gives labels and scores [n, k]."""

    async def load(self) -> bool:
        self.classifier = Classifier(NAMES.index(self.name))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        photos = payload.inputs[0].data.root
        answers = self.classifier.classify(
            [decode(photo, self.classifier.side) for photo in photos]
        )
        shape = [len(answers), len(answers[0])]
        labels = [label for answer in answers for label, _ in answer]
        scores = [score for answer in answers for _, score in answer]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(name="labels", shape=shape, datatype="INT64", data=labels),
                ResponseOutput(name="scores", shape=shape, datatype="FP32", data=scores),
            ],
        )
