"""The Open Inference Protocol of a listener in this process, on tiny models."""

from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

from models.manifest import Label
from proto.classify.v1 import classify_pb2, classify_pb2_grpc, common_pb2
from proto.inference import inference_pb2, inference_pb2_grpc
from server.listener import Listener
from server.rpc.calls import Handlers
from server.rpc.feedback import AnswerMemory, FeedbackServicer
from server.rpc.oip import InferenceModelServicer
from server.settings import Settings
from tests.artifacts import (
    TINY_LABELS,
    TINY_NAME,
    TINY_SIDE,
    TinyModel,
    coloured,
    publish_tiny_artifact,
)
from tests.unit.server.catalog.conftest import (  # noqa: F401 (fixtures)
    World,
    answers_of,
    world,
    world_of,
)

COPIES = 500
WIDE = "wide"


@pytest.fixture
async def channel(
    world: World,  # noqa: F811
    request: pytest.FixtureRequest,
) -> AsyncIterator[grpc.aio.Channel]:
    """To a listener; a test may have it keep so many bytes of answers."""
    publish_tiny_artifact(world.root)
    names = [f"{label}-{copy}" for copy in range(COPIES) for label in TINY_LABELS]
    labels = tuple(Label(id=each, display_name=each) for each in names)
    publish_tiny_artifact(world.root, name=WIDE, module=TinyModel(COPIES), labels=labels)
    await world.follower.look()
    memory = AnswerMemory(world.metrics, None, 10)
    answers = answers_of(world, getattr(request, "param", 0), memory)
    others = Handlers(
        InferenceModelServicer(world.catalog, world.metrics, 8).handlers(),
        FeedbackServicer(memory).handlers(),
    )
    settings = Settings(shutdown_delay_s=0, lame_duck_s=0)
    listener = Listener(settings, answers, others, port=0)
    await listener.start()
    async with grpc.aio.insecure_channel(listener.address) as opened:
        yield opened
    await listener.drain(world.catalog.drain)


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> "inference_pb2_grpc.GRPCInferenceServiceAsyncStub":
    return inference_pb2_grpc.GRPCInferenceServiceStub(channel)


def red(
    *, model: str = TINY_NAME, count: int = 1, **outputs: int
) -> inference_pb2.ModelInferRequest:
    """Images of one colour; of each output so many classifications, 0: the output itself."""
    pixels = coloured("red").permute(1, 2, 0).contiguous().numpy().tobytes() * count
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(
        name="image", datatype="UINT8", shape=[count, TINY_SIDE, TINY_SIDE, 3]
    )
    request = inference_pb2.ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[pixels]
    )
    for name, classification in outputs.items():
        output = request.outputs.add(name=name)
        if classification:
            output.parameters["classification"].int64_param = classification
    return request


def wide(request_id: str, top_k: int) -> classify_pb2.ClassifyRequest:
    raw = classify_pb2.RawImage(height=1, width=1, data=b"\xff\0\0")
    return classify_pb2.ClassifyRequest(
        request_id=request_id,
        model=common_pb2.ModelSpec(name=WIDE),
        top_k=top_k,
        image=classify_pb2.Image(raw=raw),
    )


async def test_the_scores_of_more_classes_than_may_be_listed(stub) -> None:
    metadata = await stub.ModelMetadata(inference_pb2.ModelMetadataRequest(name=WIDE))
    assert list(metadata.outputs[0].shape) == [-1, 3 * COPIES]
    answer = await stub.ModelInfer(red(model=WIDE, count=2))
    shapes = {output.name: list(output.shape) for output in answer.outputs}
    assert shapes["scores"] == [2, 3 * COPIES]
    assert shapes["class_ids"] == [2, 5]
    scores = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(2, COPIES, 3)
    assert scores[0].sum() == pytest.approx(1.0, abs=1e-4)
    # Red is the first of the three, and each copy gives a little less than the one before it.
    assert (scores.argmax(axis=2) == 0).all()
    assert (np.diff(scores[1, :, 0]) < 0).all()
    best = np.frombuffer(answer.raw_output_contents[1], "<i8").reshape(2, 5)
    assert best[0].tolist() == [0, 3, 6, 9, 12]


async def test_what_is_not_wanted_is_not_computed(stub, channel) -> None:
    strings = await stub.ModelInfer(red(model=WIDE, scores=2))
    assert list(strings.outputs[0].shape) == [1, 2]
    assert strings.raw_output_contents[0].endswith(b":3:red-1")
    # Nor may others have more than the limit.
    classify = classify_pb2_grpc.ClassifyServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError, match="must be from 1 to 1000"):
        await classify.Classify(wide("b", 1001))


async def test_an_answer_of_many_labels_is_remembered_by_the_best(channel) -> None:
    classify = classify_pb2_grpc.ClassifyServiceStub(channel)
    answer = await classify.Classify(wide("a", 1000))
    assert len(answer.predictions) == 1000
    feedback = classify_pb2_grpc.FeedbackServiceStub(channel)
    again = await feedback.GetAnswer(classify_pb2.GetAnswerRequest(request_id="a"))
    assert list(again.response.predictions) == list(answer.predictions[:100])


async def test_statistics(stub) -> None:
    ask = inference_pb2.ModelStatisticsRequest
    before = await stub.ModelStatistics(ask())
    assert [(each.name, each.inference_count) for each in before.model_stats] == [
        (TINY_NAME, 0),
        (WIDE, 0),
    ]
    for count in (1, 1, 2):
        await stub.ModelInfer(red(count=count))
    broken = red()
    broken.raw_input_contents[0] = b"short"
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.ModelInfer(broken)
    encoded = inference_pb2.ModelInferRequest(
        model_name=TINY_NAME,
        inputs=[{"name": "image", "datatype": "BYTES", "shape": [1]}],
        raw_input_contents=[b"\1\0\0\0x"],
    )
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.ModelInfer(encoded)
    (found,) = (await stub.ModelStatistics(ask(name=TINY_NAME, version="1"))).model_stats
    assert found.inference_count == 4
    sizes = {each.batch_size: each.compute_infer for each in found.batch_stats}
    assert sum(size * each.count for size, each in sizes.items()) == 4
    assert found.execution_count == sum(each.count for each in sizes.values())
    spent = found.inference_stats
    for step in (spent.success, spent.queue, spent.compute_input, spent.compute_infer):
        assert step.count == 4
    assert spent.success.ns >= spent.queue.ns + spent.compute_input.ns > 0
    assert spent.compute_infer.ns == pytest.approx(
        sum(size * each.ns for size, each in sizes.items()), abs=100
    )
    # The image that is none; the tensor that fits no image never was a request for the model.
    assert spent.fail.count == 1
    assert found.last_inference > 1_600_000_000_000
    assert found.memory_usage[0].byte_size > 0
    with pytest.raises(grpc.aio.AioRpcError, match="names no model"):
        await stub.ModelStatistics(ask(name="nothing"))


@pytest.mark.parametrize("channel", [2**20], indirect=True)
async def test_statistics_of_answers_that_are_kept(stub) -> None:
    for _ in range(3):
        await stub.ModelInfer(red())
    ask = inference_pb2.ModelStatisticsRequest(name=TINY_NAME)
    (found,) = (await stub.ModelStatistics(ask)).model_stats
    assert found.inference_count == 1
    spent = found.inference_stats
    assert (spent.success.count, spent.compute_infer.count) == (3, 1)
    assert (spent.cache_hit.count, spent.cache_miss.count) == (2, 1)
