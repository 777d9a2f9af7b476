"""Where the model looked, asked of a real server."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from PIL import Image

from client import Client, InvalidArgumentError
from models.class_activation import class_activation_maps
from models.image_header import ImageLimits
from models.preprocess import preprocess
from models.repository import ModelRepository
from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.integration.conftest import PHOTOS, ROOT, ZOO, Server, in_both_modes

pytest_generate_tests = in_both_modes


def expected_map(photo: bytes, label: int) -> np.ndarray:
    """Grad-CAM of the published module in fp32, beside the server."""
    repository = ModelRepository(ZOO)
    artifact = repository.read("cats-vs-dogs", repository.versions("cats-vs-dogs")[-1])
    image = preprocess(photo, artifact.manifest.input, ImageLimits())[None]
    module = artifact.module().eval()
    return class_activation_maps(module, image, torch.tensor([label]))[0].numpy()


def test_the_map_is_that_of_the_published_module(server: Server, cat: bytes) -> None:
    with Client(server.grpc) as client:
        answer = client.explain(cat, label_id="cat")
    assert answer.explanation is not None
    assert answer.explanation.prediction.id == "cat"
    # The server may compute in bfloat16, which has three digits.
    np.testing.assert_allclose(answer.explanation.map, expected_map(cat, 0), atol=0.1)


def test_the_best_label_is_explained_unless_another_is_named(server: Server, dog: bytes) -> None:
    with Client(server.grpc) as client:
        plain, best, other = (
            client.classify(dog),
            client.explain(dog),
            client.explain(dog, label_id="cat"),
        )
    assert plain.explanation is None
    assert best.explanation is not None
    assert other.explanation is not None
    assert best.explanation.prediction == best.predictions[0]
    assert best.predictions[0].score == pytest.approx(plain.predictions[0].score, abs=0.02)
    assert other.explanation.prediction.id == "cat"
    assert other.explanation.prediction.score == pytest.approx(other.predictions[1].score)
    assert other.explanation.map != best.explanation.map


def test_explained_and_ordinary_requests_share_batches(server: Server, cat: bytes) -> None:
    with Client(server.grpc) as client, ThreadPoolExecutor(16) as pool:
        jobs = [
            pool.submit(client.explain if index % 2 else client.classify, cat)
            for index in range(48)
        ]
        answers = [job.result(timeout=30) for job in jobs]
    assert max(answer.timings.batch_size for answer in answers) > 1
    maps = [np.array(a.explanation.map) for a in answers[1::2] if a.explanation]
    assert len(maps) == 24
    assert all(answer.explanation is None for answer in answers[::2])
    for one in maps:
        np.testing.assert_allclose(one, maps[0], atol=0.05)


def test_the_overlay_is_a_picture_of_the_input(server: Server, cat: bytes) -> None:
    with Client(server.grpc) as client:
        answer = client.explain(cat, overlay=True)
    assert answer.explanation is not None
    picture = Image.open(io.BytesIO(answer.explanation.overlay_png))
    assert (picture.format, picture.size) == ("PNG", (224, 224))


def test_classify_explains_when_asked(server: Server, cat: bytes) -> None:
    request = classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=cat))
    request.explain.method = classify_pb2.EXPLAIN_METHOD_GRAD_CAM_PLUS_PLUS
    with grpc.insecure_channel(server.grpc) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        explanation = stub.Classify(request, timeout=30).explanation
        request.explain.method = 9
        with pytest.raises(grpc.RpcError) as caught:
            stub.Classify(request, timeout=30)
    assert len(explanation.values) == explanation.height * explanation.width > 1
    assert max(explanation.values) == pytest.approx(1)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("explain.method ")


def test_an_unknown_label_is_refused_by_name(server: Server, cat: bytes) -> None:
    with Client(server.grpc) as client, pytest.raises(InvalidArgumentError) as caught:
        client.explain(cat, label_id="horse")
    assert caught.value.field == "explain.label_id"
    assert "'horse'" in caught.value.message


def run_client(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "client", "explain", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_writes_a_picture(server: Server, tmp_path: Path) -> None:
    photo, output = str(PHOTOS / "cat.2000.jpg"), tmp_path / "map.png"
    done = run_client(photo, "-o", str(output), "--server", server.grpc)
    assert done.returncode == 0, done.stderr
    assert "Cat" in done.stdout
    with Image.open(output) as picture:
        assert picture.format == "PNG"
    listed = run_client(photo, "--json", "--server", server.grpc)
    found = json.loads(listed.stdout)["explained"]
    assert found["label"] == "cat"
    assert max(map(max, found["map"])) == 1
    missing = run_client(str(tmp_path / "none.jpg"), "--json", "--server", server.grpc)
    assert missing.returncode == 1
    assert "no such file" in missing.stderr
