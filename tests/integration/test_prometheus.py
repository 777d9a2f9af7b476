"""A real Prometheus scrapes a real server: dashboards show data, faults raise their alerts."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import copytree, which

import grpc
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from deploy.dashboards import DASHBOARDS, Dashboard
from models.image_header import ImageLimits
from models.manifest import Reference
from models.preprocess import preprocess
from models.repository import ModelRepository
from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.artifacts import TINY_NAME, publish_tiny_artifact
from tests.integration.conftest import ROOT, Server, run_server
from trainer.reference import reference_of

pytestmark = pytest.mark.skipif(which("prometheus") is None, reason="Prometheus is not installed")

PATIENCE_S = 60
PHOTOS = 240


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus; ``url`` is its API's."""

    url: str

    def get(self, path: str, **parameters: str) -> dict:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as page:  # noqa: S310
            return json.loads(page.read())["data"]

    def query(self, expr: str) -> list[dict]:
        return self.get("query", query=expr)["result"]

    def firing(self) -> dict[str, dict[str, str]]:
        """The labels of each alert that fires, by its name (of several, the last)."""
        alerts = self.get("alerts")["alerts"]
        return {
            alert["labels"]["alertname"]: alert["labels"]
            for alert in alerts
            if alert["state"] == "firing"
        }


@contextmanager
def run_prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Prometheus with the project's rules, sped up: seconds for minutes."""
    rules = (ROOT / "deploy" / "prometheus" / "rules.yaml").read_text(encoding="utf-8")
    # The engine is held against yesterday's: here against a few seconds before.
    rules = rules.replace("[1d] offset 1h", "[4s] offset 5s")
    rules = re.sub(r"(menagerie_(engine_seconds|batch_size)_sum)\[5m\]", r"\1[4s]", rules)
    rules = re.sub(r"\[[15]m\]", "[8s]", re.sub(r"for: \d+m", "for: 0s", rules))
    (folder / "rules.yaml").write_text(rules)
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        str(which("prometheus")),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        prometheus = Prometheus(f"http://{address}")
        eventually(lambda: prometheus.query("menagerie_ready == 1"))
        yield prometheus
    finally:
        process.terminate()
        process.wait(timeout=30)


def eventually(found: Callable[[], object]) -> object:
    """What ``found`` returns, as soon as that is something."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            result = found()
        except urllib.error.URLError:  # it does not listen yet
            result = None
        if result:
            return result
        assert time.monotonic() < ends, "nothing came"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves a good version, knows a damaged one, and has room for few requests."""
    root = tmp_path_factory.mktemp("repository")
    reference = ordinary(tmp_path_factory.mktemp("reference"))
    version = publish_tiny_artifact(root, reference=reference)
    damaged = root / TINY_NAME / str(version + 1)
    copytree(root / TINY_NAME / str(version), damaged)
    manifest = json.loads((damaged / "manifest.json").read_text())
    (damaged / "manifest.json").write_text(json.dumps({**manifest, "version": version + 1}))
    (damaged / "model.pt").write_bytes(b"not this")
    (root / TINY_NAME / "labels.json").write_text(json.dumps({"stable": version}))
    with run_server("--repository", str(root), "--queue-limit", "4") as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with run_prometheus(tmp_path_factory.mktemp("prometheus"), server.metrics) as running:
        yield running


def daylight(seed: int) -> np.ndarray:
    """A photo of some brightness, colour and fine detail, uint8 [32, 32, 3]."""
    random = np.random.default_rng(seed)
    colour = random.integers(40, 120, 3)
    colour[seed % 3] += 90
    cells = colour + random.integers(-30, 31, (16, 16, 1))
    return np.kron(cells, np.ones((2, 2, 1))).clip(0, 255).astype(np.uint8)


def cropped(photo: np.ndarray) -> np.ndarray:
    """The middle quarter, enlarged: less detail, all else alike."""
    middle = Image.fromarray(photo[12:20, 12:20])
    return np.asarray(middle.resize((32, 32), Image.Resampling.BICUBIC))


def grey(photo: np.ndarray) -> np.ndarray:
    return photo.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8)


def dark(photo: np.ndarray) -> np.ndarray:
    return photo // 8


@cache
def files(change: Callable[[np.ndarray], np.ndarray] = lambda photo: photo) -> list[bytes]:
    found = []
    for seed in range(PHOTOS):
        data = io.BytesIO()
        Image.fromarray(change(daylight(seed))).save(data, "PNG")
        found.append(data.getvalue())
    return found


def ordinary(folder: Path) -> Reference:
    """What daylight looks like to the tiny model."""
    version = publish_tiny_artifact(folder)
    artifact = ModelRepository(folder).read(TINY_NAME, version)
    images = torch.stack(
        [preprocess(one, artifact.manifest.input, ImageLimits()) for one in files()]
    )
    scores = torch.softmax(artifact.module()(images), dim=1)
    sizes = torch.tensor([len(one) for one in files()])
    reference = reference_of(images, scores, torch.zeros(PHOTOS), sizes)
    return reference.model_copy(update={"novelty": None})


def classify(server: Server, photos: list[bytes], count: int) -> None:
    """One after the other, so that none is refused."""
    with grpc.insecure_channel(server.grpc) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        for number in range(count):
            image = classify_pb2.Image(encoded=photos[number % len(photos)])
            stub.Classify(classify_pb2.ClassifyRequest(image=image), timeout=30)


def flood(server: Server, count: int) -> None:
    """All at once, whatever becomes of them."""
    photos = [classify_pb2.Image(encoded=photo) for photo in files()]
    with grpc.insecure_channel(server.grpc) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        calls = [
            stub.Classify.future(
                classify_pb2.ClassifyRequest(image=photos[number % PHOTOS]), timeout=30
            )
            for number in range(count)
        ]
        assert all(call.code() is not None for call in calls)


def filled(expr: str) -> str:
    """A dashboard's query as Grafana would send it."""
    return re.sub(r"\$(job|model|instance)\b", ".*", expr).replace("$__rate_interval", "8s")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_every_panel_of_a_dashboard_shows_data(
    server: Server, prometheus: Prometheus, dashboard: Dashboard
) -> None:
    def empty() -> list[str]:
        classify(server, files(), 210)
        flood(server, 40)  # so that there are refusals to show
        return [
            panel.title
            for panel in dashboard.panels
            for expr in panel.queries.values()
            if not prometheus.query(filled(expr)) and not panel.optional
        ]

    ends, missing = time.monotonic() + PATIENCE_S, empty()
    while missing and time.monotonic() < ends:
        missing = empty()
    assert not missing
    for panel in dashboard.panels:  # optional ones may be empty, but not wrong
        for expr in panel.queries.values():
            prometheus.query(filled(expr))


def test_what_autoscaling_asks_for_is_there(server: Server, prometheus: Prometheus) -> None:
    adapter = yaml.safe_load((ROOT / "deploy" / "k8s" / "adapter.yaml").read_text())
    queries = [
        rule["metricsQuery"]
        .replace("<<.LabelMatchers>>", 'job="menagerie"')
        .replace("<<.GroupBy>>", "instance")
        for rule in adapter["rules"]["custom"]
    ]
    path = ROOT / "deploy" / "k8s" / "components" / "keda" / "scaled-object.yaml"
    for trigger in yaml.safe_load(path.read_text())["spec"]["triggers"]:
        queries.append(
            trigger["metadata"]["query"].replace('namespace="menagerie"', 'job="menagerie"')
        )
    assert len(queries) == 4
    classify(server, files(), 50)
    for query in queries:
        (result,) = eventually(lambda query=query: prometheus.query(query.replace("[1m]", "[8s]")))
        assert 0 <= float(result["value"][1]) < 10


def test_a_failed_load_raises_its_alert(prometheus: Prometheus) -> None:
    labels = eventually(lambda: prometheus.firing().get("MenagerieModelLoadFailed"))
    assert (labels["model"], labels["version"], labels["severity"]) == (TINY_NAME, "2", "ticket")


def test_each_kind_of_drift_raises_the_alert_of_its_signal(
    server: Server, prometheus: Prometheus
) -> None:
    def firing(name: str) -> list[dict]:
        alert = f'alertname="MenagerieDrift",alertstate="firing",signal="{name}"'
        return prometheus.query(f"ALERTS{{{alert}}}")

    classify(server, files(), 400)
    # In this order, since dark photos have less colour, too.
    for change, name in ((cropped, "detail"), (grey, "saturation"), (dark, "brightness")):
        assert not firing(name), f"{name} drifts before anything has changed"
        classify(server, files(change), 400)
        (alert,) = eventually(lambda name=name: firing(name))
        assert (alert["metric"]["model"], alert["metric"]["version"]) == (TINY_NAME, "1")


def test_a_slow_engine_raises_its_alert(server: Server, prometheus: Prometheus) -> None:
    """It is held back as a CPU quota would: stopped for most of each moment."""

    def found() -> dict[str, str] | None:
        with held_back(server.process.pid):
            slow_until = time.monotonic() + 10
            while time.monotonic() < slow_until:
                classify(server, files(), 40)
                alert = prometheus.firing().get("MenagerieEngineSlow")
                if alert is not None:
                    return alert
        # What is slow for long is no longer slow: it needs a steady past, as the test before left.
        steady_until = time.monotonic() + 6
        while time.monotonic() < steady_until:
            classify(server, files(), PHOTOS)
        return None

    assert eventually(found)["model"] == TINY_NAME


@contextmanager
def held_back(pid: int) -> Iterator[None]:
    """A process that may run for a quarter of the time inside the block."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            over.wait(0.03)
            os.kill(pid, signal.SIGCONT)
            over.wait(0.01)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_full_queue_raises_its_alert(server: Server, prometheus: Prometheus) -> None:
    def found() -> dict[str, str] | None:
        flood(server, 100)
        return prometheus.firing().get("MenagerieQueueFull")

    assert eventually(found)["model"] == TINY_NAME


@pytest.mark.skipif(which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_no_fault_with_the_metrics(server: Server) -> None:
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=30) as page:
        checked = subprocess.run(
            [str(which("promtool")), "check", "metrics"],
            input=page.read(), capture_output=True, check=False,
        )  # fmt: skip
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
