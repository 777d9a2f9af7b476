"""A model meets what it never saw, is told, learns it, and takes over: the whole loop, for real.

The classes are red and blue; the sub-group that training lacked is green, which people call
whatever the first model does not.
"""

import json
import re
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from client import Client, NotFoundError
from client.admin import AdminClient
from models.repository import LABELS_NAME
from tests.integration.conftest import Server, run_server
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
    trial = try_out(repository, data, unseen, truth)
    assert trial["nobody chose it yet"] == before <= 0.5
    assert trial["share of the canary"] == pytest.approx(0.25, abs=0.03)
    assert trial["right of the old"] <= 0.5
    assert trial["right of the new"] >= 0.9
    assert trial["after"] >= 0.9
    assert trial["what it knew"] >= 0.9


def try_out(repository: Path, data: Path, unseen: list[Path], truth: str) -> dict[str, float]:
    """Send the new version a quarter of the traffic, then move the label to it.

    Returns:
        Shares of answers that are right, and the canary's share of them.
    """
    stable = json.dumps({MODEL: {"default_label": "stable"}})
    flags = ("--repository", str(repository), "--models", stable, "--repository-poll-s", "0.2")
    with (
        run_server(*flags, "--admin-port", "0") as server,
        Client(server.grpc) as client,
        AdminClient(server.admin) as admin,
    ):
        before = share_of(truth, client, unseen)
        admin.set_canary(MODEL, "2", 0.25)
        (old_asked, old_right), (new_asked, new_right) = right_by_version(
            client, server, unseen * 3, truth
        )
        (repository / MODEL / LABELS_NAME).write_text(json.dumps({"stable": 2}))
        wait_for_stable(client, "2")
        admin.set_canary(MODEL, "2", 0.0)
        assert {client.classify(photo, model=MODEL).version for photo in unseen} == {"2"}
        return {
            "nobody chose it yet": before,
            "share of the canary": new_asked / (old_asked + new_asked),
            "right of the old": old_right / old_asked,
            "right of the new": new_right / new_asked,
            "after": share_of(truth, client, unseen),
            "what it knew": sum(
                share_of(name, client, known(data, name)) for name in ("red", "blue")
            ) / 2,
        }  # fmt: skip


def known(data: Path, name: str) -> list[Path]:
    """Photos of a class that the first model was tested on."""
    return sorted((data / "test" / name).glob("*.jpg"))[:6]


def right_by_version(
    client: Client, server: Server, photos: list[Path], truth: str
) -> list[tuple[int, int]]:
    """Send photos that name no version and say what they show.

    Returns:
        Of version 1 and 2 how many it answered, and how many rightly as the metrics have it.
    """
    answered: Counter[str] = Counter()
    for photo in photos:
        answer = client.classify(photo, model=MODEL)
        answered[answer.version] += 1
        client.feedback(answer.request_id, truth)
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=30) as page:
        counted = re.findall(
            r'^menagerie_feedback_total\{.*outcome="correct",version="(\d+)"\} (\S+)$',
            page.read().decode(), re.MULTILINE,
        )  # fmt: skip
    right = {version: round(float(count)) for version, count in counted}
    return [(answered[version], right.get(version, 0)) for version in ("1", "2")]


def wait_for_stable(client: Client, version: str) -> None:
    """Return once the label has moved."""
    give_up = time.monotonic() + 60
    while client.model(MODEL, label="stable").version != version:
        assert time.monotonic() < give_up, "the label has not moved"
        time.sleep(0.05)


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
