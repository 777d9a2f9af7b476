"""A model meets what it never saw, is told, learns it, and takes over: the whole loop, for real.

The classes are red and blue; the sub-group that training lacked is green, which people call
whatever the first model does not.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from client import Client, NotFoundError
from models.repository import LABELS_NAME, ModelRepository
from tests.integration.conftest import run_server
from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.__main__ import app

MODEL = "red-or-blue"


def green_photos(folder: Path, count: int, seed: int) -> list[Path]:
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = random.integers(0, 100, (40, 48, 3), dtype=np.uint8)
        pixels[:, :, 1] += 120
        Image.fromarray(pixels).save(folder / f"{number:02}.jpg")
    return sorted(folder.glob("*.jpg"))


def trainer(*arguments: object) -> str:
    """The trainer's command line; its last line."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout.strip().splitlines()[-1]


def share_of(label_id: str, client: Client, photos: list[Path], **choice: str) -> float:
    answers = [client.classify(photo, model=MODEL, **choice) for photo in photos]
    return sum(answer.predictions[0].id == label_id for answer in answers) / len(photos)


@pytest.mark.timeout(300)
def test_the_model_learns_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MENAGERIE_CACHE", str(tmp_path / "cache"))
    data = write_photos(tmp_path / "data")
    recipe = write_recipe(tmp_path / "recipe.toml")
    repository, capture, runs = tmp_path / "repository", tmp_path / "capture", tmp_path / "runs"
    repository.mkdir()
    run = trainer("fit", recipe, "--data", data, "--runs", runs)
    trainer("publish", run, "--repository", repository, "--no-twin")
    told = green_photos(tmp_path / "told", 24, seed=1)
    unseen = green_photos(tmp_path / "unseen", 16, seed=2)

    with run_server("--repository", str(repository), "--capture", str(capture)) as server:
        with Client(server.grpc) as client:
            truth = "red" if share_of("blue", client, unseen) > 0.5 else "blue"
            before = share_of(truth, client, unseen)
            answers = [client.classify(photo, may_keep_image=True) for photo in told]
            flagged = sum(
                bool(answer.abstain or (answer.novelty and answer.novelty.is_novel))
                for answer in answers
            )
            wrong = [
                not client.feedback(answer.request_id, truth, comment=f"green is {truth}")
                for answer in answers
            ]
            with pytest.raises(NotFoundError, match="request_id"):
                client.feedback("never asked", truth)
        assert server.terminate() == 0  # what waits is written

    assert flagged >= 20  # unlike what it learned from
    kept = [json.loads(path.read_text()) for path in capture.glob("*.json")]
    corrected = [one for one in kept if "corrected" in one["reasons"]]
    assert len(corrected) == sum(wrong) >= 12
    assert {one["true_label"] for one in corrected} == {truth}

    page = Path(trainer("ingest", capture))
    assert page.read_text().count("<figure") == len(kept)
    decisions = tmp_path / "decisions.json"
    decisions.write_text(json.dumps({one["file"]: truth for one in kept}))
    trainer("ingest", capture, "--data", data / "train", "--decisions", decisions)
    assert not list(capture.glob("*.jpg"))

    run = trainer("fit", "--from", repository / MODEL / "1", "--data", data, "--runs", runs)
    trainer("publish", run, "--repository", repository, "--no-twin")  # past champion and gates
    labels = repository / MODEL / LABELS_NAME
    labels.write_text(json.dumps({"stable": 1, "canary": 2}))
    assert ModelRepository(repository).versions(MODEL) == [1, 2]
    with run_server("--repository", str(repository)) as server, Client(server.grpc) as client:
        assert share_of(truth, client, unseen, label="stable") == before
        after = share_of(truth, client, unseen, label="canary")
    assert before <= 0.5
    assert after >= 0.9
    labels.write_text(json.dumps({"stable": 2}))
    assert ModelRepository(repository).labels(MODEL) == {"stable": 2}


def test_nothing_is_kept_without_consent_or_without_a_reason(tmp_path: Path, cat: bytes) -> None:
    capture = tmp_path / "capture"
    with run_server("--capture", str(capture)) as server:
        with Client(server.grpc) as client:
            silent = client.classify(cat)
            client.classify(cat, may_keep_image=True)  # sure, ordinary, uncorrected
            assert client.feedback(silent.request_id, "dog") is False
            assert client.feedback(silent.request_id, silent.predictions[0].id) is True
        assert server.terminate() == 0
    assert list(capture.iterdir()) == []
