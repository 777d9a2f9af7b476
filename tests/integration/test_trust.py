"""How sure the server is, against the bundled model that knows cats and dogs alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from client import Client, InvalidArgumentError
from models.repository import ModelRepository
from proto.classify.v1 import classify_pb2
from tests.integration.conftest import PHOTOS, ROOT, ZOO, Server


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A picture of no animal: coloured stripes."""
    path = tmp_path_factory.mktemp("pattern") / "stripes.png"
    stripes = np.zeros((200, 200, 3), np.uint8)
    stripes[:, ::8] = (255, 0, 255)
    stripes[::8] = (0, 255, 0)
    Image.fromarray(stripes).save(path)
    return path.read_bytes()


def test_photos_like_those_learned_are_ordinary_and_patterns_are_novel(
    server: Server, pattern: bytes
) -> None:
    with Client(server.grpc) as client:
        ordinary = [client.classify(path).novelty for path in PHOTOS.glob("*.jpg")]
        strange = client.classify(pattern).novelty
    assert sum(one.is_novel for one in ordinary if one) <= 2
    assert all(one.score <= one.threshold for one in ordinary if one and not one.is_novel)
    assert strange is not None
    assert strange.is_novel


def test_every_answer_names_the_artifact_and_whether_to_abstain(server: Server, cat: bytes) -> None:
    with Client(server.grpc) as client:
        answer, model = client.classify(cat), client.model()
    assert answer.digest == model.digest != ""
    repository = ModelRepository(ZOO)
    manifest = repository.read(model.name, int(model.version)).manifest
    assert manifest.calibration.abstain is not None
    threshold = manifest.calibration.abstain.threshold
    assert answer.abstain is (answer.predictions[0].score < threshold)


def test_a_prediction_set_holds_the_labels_that_are_likely_enough(
    server: Server, cat: bytes
) -> None:
    with Client(server.grpc) as client:
        plain = client.classify(cat)
        asked = {share: client.classify(cat, top_k=1, coverage=share) for share in (0.9, 0.99)}
    assert plain.prediction_set is None
    for share, answer in asked.items():
        assert answer.prediction_set is not None
        assert answer.prediction_set.coverage == pytest.approx(share)
        assert len(answer.predictions) == 1
    small, large = (
        {one.id for one in answer.prediction_set.predictions}
        for answer in asked.values()
        if answer.prediction_set
    )
    assert small <= large
    assert "cat" in large


@pytest.mark.parametrize("coverage", [0.5, 0.0, 1.0, float("nan"), -1.0])
def test_a_coverage_that_is_not_offered_is_refused(
    server: Server, cat: bytes, coverage: float
) -> None:
    with Client(server.grpc) as client, pytest.raises(InvalidArgumentError) as caught:
        client.classify(cat, coverage=coverage)
    assert caught.value.field == "coverage"
    assert "0.9, 0.95, 0.99" in caught.value.message


def test_an_artifact_of_an_earlier_release_says_nothing(server: Server, cat: bytes) -> None:
    with Client(server.grpc) as client:
        answer = client.classify(cat, model="tiny-animals")
        with pytest.raises(InvalidArgumentError, match="is not offered by tiny-animals"):
            client.classify(cat, model="tiny-animals", coverage=0.9)
    assert (answer.abstain, answer.novelty) == (None, None)


def test_the_command_tells_people(server: Server, pattern: bytes) -> None:
    command = [sys.executable, "-m", "client", "classify", "-", "--server", server.grpc]

    def output(*flags: str) -> str:
        done = subprocess.run(
            [*command, *flags], input=pattern, cwd=ROOT, capture_output=True, check=True
        )
        return done.stdout.decode()

    assert "novel: unlike" in output()
    assert "90% set:" in output("--coverage", "0.9")
    line = json.loads(output("--json"))
    assert line["novel"] is True


def test_the_proto_keeps_unset_apart_from_false() -> None:
    assert not classify_pb2.ClassifyResponse().HasField("abstain")


def test_looking_again_averages_and_costs_no_answer(server: Server, cat: bytes) -> None:
    with Client(server.grpc) as client:
        once, flip, crops = (
            client.classify(cat, quality=quality, coverage=0.99)
            for quality in ("once", "flip", "crops")
        )
        with pytest.raises(InvalidArgumentError, match="quality"):
            client.classify(cat, quality="often")  # type: ignore[arg-type]
    for answer in (flip, crops):
        assert answer.predictions[0].id == "cat"
        assert sum(one.score for one in answer.predictions) == pytest.approx(1, abs=1e-4)
        assert answer.prediction_set is not None
        assert answer.novelty is not None
    assert len({answer.predictions[0].score for answer in (once, flip, crops)}) == 3
