"""The Open Inference Protocol, with Triton's own client and by hand."""

import importlib.util
import json
import os
import struct
import subprocess
import sys

import grpc
import pytest

from proto.inference import inference_pb2, inference_pb2_grpc
from tests.gateway import run_gateway
from tests.integration.conftest import PHOTOS, ROOT, VERSION, Server, in_both_modes


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In both modes, but what is about the gateway: it is a caller as others are."""
    if metafunc.function is test_the_same_over_http:
        metafunc.parametrize("server", ["1"], ids=["one process"], indirect=True, scope="module")
    else:
        in_both_modes(metafunc)


# It wants other versions of much that is here: an environment of its own, pip install kserve.
KSERVE = "MENAGERIE_KSERVE_PYTHON"
Tensor = inference_pb2.ModelInferRequest.InferInputTensor


@pytest.mark.skipif(
    importlib.util.find_spec("tritonclient") is None, reason="needs tritonclient[grpc]"
)
def test_tritons_image_classification_flow(server: Server) -> None:
    report = flow("triton_flow", server.grpc)
    score, index, label = report["strings"][0][0].split(":")
    assert label == "cat"
    assert report["labels"] == [["cat"]]
    assert report["class_ids"] == [[int(index)]]
    assert report["version"] == VERSION
    assert report["uint8"] == report["fp32"] == report["nchw"]
    assert report["uint8"][0][int(index)] == pytest.approx(float(score), abs=1e-5)
    assert report["top_scores"][0][0] == pytest.approx(float(score), abs=0.2)
    assert len(report["batch"]) == 3
    assert report["unknown"] == "StatusCode.NOT_FOUND"
    assert set(report["index"]) == {"READY"}
    assert_documented(report["protocol"])
    (before,), (after,) = report["statistics"]
    assert after["version"] == VERSION
    assert int(after["inference_count"]) - int(before.get("inference_count", 0)) >= 8


def rows(page: str) -> list[list[str]]:
    """The rows of a page's tables."""
    return [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]


def assert_documented(protocol: dict[str, list[str]]) -> None:
    """Every call, and every field of those that are served, has its place on the page."""
    page = (ROOT / "docs" / "reference" / "oip.md").read_text(encoding="utf-8")
    before, _, after = page.partition("## Every field of every message")
    calls = {name for row in rows(before) for name in row[0].split(", ")}
    groups = tuple(name.rstrip("*") for name in calls if name.endswith("*"))
    assert [n for n in protocol.pop("") if n not in calls and not n.startswith(groups)] == []
    told: dict[str, list[str]] = {}
    for message, fields, *_ in rows(after)[1:]:
        told.setdefault(message, []).extend(fields.split(", "))
    assert {name: sorted(fields) for name, fields in told.items()} == {
        name: sorted(fields) for name, fields in protocol.items() if fields
    }


@pytest.mark.skipif(
    importlib.util.find_spec("geventhttpclient") is None, reason="needs tritonclient[http]"
)
def test_the_same_over_http(server: Server) -> None:
    with run_gateway(server.grpc, timeout_s=30) as url:
        report = flow("triton_http_flow", url.removeprefix("http://"))
    assert report["server"]["name"] == "menagerie"
    assert "binary_tensor_data" in report["server"]["extensions"]
    score, index, label = report["strings"][0][0].split(":")
    assert label == "cat"
    assert report["json_strings"] == report["strings"]
    assert report["scores"][0][0][int(index)] == pytest.approx(float(score), abs=1e-5)
    assert report["scores"] == [report["scores"][0]] * 7
    assert len(report["batch"]) == 3
    assert report["labels"] == [["cat"]]
    assert report["class_ids"] == [[int(index)]]
    assert report["later"][0][0] == "cat"
    assert (report["version"], report["id"]) == (VERSION, "7")
    assert set(report["index"]) == {"READY"}
    (before,), (after,) = report["statistics"]
    computed = after["inference_count"] - before["inference_count"]
    then, now = (each["inference_stats"]["success"]["count"] for each in (before, after))
    assert now - then == computed > 0
    unknown, two, load = report["errors"]
    assert (unknown[0], two[0], load[0]) == ("404", "400", "501")
    assert "names no model" in unknown[1]
    assert "one tensor, not 2" in two[1]


@pytest.mark.skipif(
    KSERVE not in os.environ, reason=f"{KSERVE} names no interpreter that has kserve"
)
def test_kserves_client_over_both(server: Server) -> None:
    with run_gateway(server.grpc, timeout_s=30) as url:
        file = ROOT / "tests" / "integration" / "kserve_flow.py"
        report = reported([os.environ[KSERVE], str(file), url, server.grpc])
    assert report["states"] == [True] * 6
    for answers in (report["photo"], report["pixels"]):
        assert answers == [answers[0]] * len(answers)
        assert answers[0]["id"] == "7"
    assert report["photo"][0]["labels"][0][0] == "cat"


def flow(module: str, address: str) -> dict:
    """What Triton's client reports of a photo, in a process of its own."""
    return reported([sys.executable, "-m", f"tests.integration.{module}", address])


def reported(command: list[str]) -> dict:
    """What a command prints of a photo."""
    done = subprocess.run(
        [*command, str(PHOTOS / "cat.2000.jpg")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: dict = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def stub(server: Server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield inference_pb2_grpc.GRPCInferenceServiceStub(channel)


def test_typed_contents_are_answered_with_typed_contents(stub, cat: bytes) -> None:
    tensor = Tensor(name="image", datatype="BYTES", shape=[2])
    tensor.contents.bytes_contents.extend([cat, cat])
    answer = stub.ModelInfer(inference_pb2.ModelInferRequest(id="a", inputs=[tensor]), timeout=30)
    assert (answer.id, answer.model_name) == ("a", "cats-vs-dogs")
    assert not answer.raw_output_contents
    by_name = {output.name: output for output in answer.outputs}
    assert list(by_name) == ["scores", "class_ids", "labels", "top_scores"]
    assert by_name["labels"].contents.bytes_contents[0] == b"cat"
    assert by_name["scores"].shape == [2, 2]
    assert sum(by_name["scores"].contents.fp32_contents) == pytest.approx(2.0, abs=1e-4)


def pixels(shape, datatype="UINT8", data=None):
    return inference_pb2.ModelInferRequest(
        inputs=[Tensor(name="image", datatype=datatype, shape=shape)],
        raw_input_contents=[bytes(12) if data is None else data],
    )


TWO = inference_pb2.ModelInferRequest(inputs=[Tensor(), Tensor()])
SHARED = pixels([1, 2, 2, 3])
SHARED.inputs[0].parameters["shared_memory_region"].string_param = "x"
MANY = pixels([1, 2, 2, 3])
MANY.parameters["top_k"].int64_param = 0
NO_OUTPUT = pixels([1, 2, 2, 3])
NO_OUTPUT.outputs.add(name="nothing")


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (inference_pb2.ModelInferRequest(), "inputs must be one tensor, not 0"),
        (TWO, "inputs must be one tensor, not 2"),
        (SHARED, "shared memory"),
        (MANY, "top_k must be from 1 to 1000"),
        (NO_OUTPUT, "outputs must be of scores"),
        (pixels([2, 2, 3], "FP64"), "datatype must be BYTES, UINT8 or FP32"),
        (pixels([12]), "3 or 4 dimensions"),
        (pixels([2, 2, 3, 1]), "3 channels"),
        (pixels([-1, 2, 2, 3]), "positive numbers"),
        (pixels([2, 2, 2, 3]), "says 24 elements; there are 12"),
        (pixels([2**40, 2**20, 2**20, 3]), "1 to 64 images"),
        (pixels([1, 2**40, 2**20, 3]), "there are 12"),
        (pixels([2, 2, 3], "FP32", struct.pack("<12f", *[300.0] * 12)), "from 0 to 255"),
        (pixels([2, 2, 3], "FP32", struct.pack("<12f", *[float("nan")] * 12)), "from 0 to 255"),
        (pixels([2, 2, 3], "FP32", b"123"), "multiple of 4"),
        (pixels([1], "BYTES", b"\1"), "end within a length"),
        (pixels([1], "BYTES", b"\xff\xff\xff\xff1"), "end within an element"),
        (pixels([2], "BYTES", b"\1\0\0\0x"), "says 2 elements; there are 1"),
        (pixels([1], "BYTES", b"\1\0\0\0x"), "image 0: image.encoded"),
    ],
)
def test_what_is_not_taken(stub, request_, problem: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request_, timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
    assert problem in caught.value.details()


def test_loading_is_not_for_the_serving_port(stub) -> None:
    request = inference_pb2.RepositoryModelLoadRequest(model_name="cats-vs-dogs")
    with pytest.raises(grpc.RpcError) as caught:
        stub.RepositoryModelLoad(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
