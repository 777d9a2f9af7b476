"""The metrics of a real server: what docs/reference/metrics.md says, and nothing else."""

import re
import urllib.request
from collections.abc import Iterator

import grpc
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from client import Client
from proto.classify.v1 import classify_pb2, classify_pb2_grpc, common_pb2
from tests.integration.conftest import ROOT, VERSION, Server, run_server

PAGE = ROOT / "docs" / "reference" / "metrics.md"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
NOT_EVERYWHERE = ("menagerie_cgroup_", "menagerie_gpu_", "menagerie_store_")
KNOWN_MODELS = {"", "cats-vs-dogs", "tiny-animals"}


@pytest.fixture(scope="module")
def busy(cat: bytes) -> Iterator[Server]:
    """A server that has answered and refused a few requests."""
    image = classify_pb2.Image(encoded=cat)
    wrong = [
        classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=b"no image")),
        classify_pb2.ClassifyRequest(image=image, model=common_pb2.ModelSpec(name="x" * 60)),
    ]
    with run_server("--triton-metrics") as server, grpc.insecure_channel(server.grpc) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        for _ in range(3):
            stub.Classify(classify_pb2.ClassifyRequest(image=image), timeout=30)
        for request in wrong:
            with pytest.raises(grpc.RpcError):
                stub.Classify(request, timeout=30)
        expired = stub.Classify.future(classify_pb2.ClassifyRequest(image=image), timeout=1e-3)
        assert expired.exception(timeout=30) is not None
        yield server


def scrape(server: Server) -> dict[str, Metric]:
    request = urllib.request.Request(
        f"http://{server.metrics}/metrics", headers={"Accept": OPEN_METRICS}
    )
    with urllib.request.urlopen(request, timeout=30) as page:  # noqa: S310
        assert page.headers["Content-Type"].startswith("application/openmetrics-text")
        return {
            metric.name: metric for metric in text_string_to_metric_families(page.read().decode())
        }


def labels_of(metric: Metric) -> set[str]:
    return {name for sample in metric.samples for name in sample.labels} - {"le"}


def documented() -> dict[str, tuple[str, set[str], str]]:
    """By name: type, labels, and Triton's name."""
    rows = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `menagerie_"):
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            labels = {label.strip() for label in cells[2].split(",")} - {""}
            rows[cells[0].strip("`")] = (cells[1], labels, cells[5])
    return rows


def test_the_page_and_the_server_agree(busy: Server) -> None:
    served = {}
    for metric in scrape(busy).values():
        if metric.name.startswith("menagerie_"):
            name = metric.name + ("_total" if metric.type == "counter" else "")
            served[name] = (metric.type, labels_of(metric))
    rows = documented()
    for name, (kind, labels) in served.items():
        assert name in rows, f"{PAGE.name} says nothing of {name}"
        if labels:  # a counter that never counted has no sample to show its labels
            assert (kind, labels) == rows[name][:2], name
    missing = {name for name in rows.keys() - served.keys() if not name.startswith(NOT_EVERYWHERE)}
    assert not missing


def test_names_follow_prometheus_conventions() -> None:
    units = ("_total", "_seconds", "_bytes", "_ratio", "_celsius", "_watts", "_cores", "_info")
    plain = {
        "requests_in_flight", "drift_psi", "drift_threshold_psi", "best_score", "brightness",
        "batch_size",
        "queue_depth", "queue_limit", "lanes", "ready",
        "model_state", "shadow_score_shift", "store_reachable",
    }  # fmt: skip
    for name, (kind, _, _) in documented().items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.endswith(units) or name.removeprefix("menagerie_") in plain, name


def test_labels_hold_nothing_that_a_caller_wrote(busy: Server) -> None:
    for metric in scrape(busy).values():
        for sample in metric.samples:
            assert sample.labels.get("model", "") in KNOWN_MODELS


def test_metrics_and_models_say_alike_where_batch_times_come_from(busy: Server) -> None:
    samples = scrape(busy)["menagerie_tuning_info"].samples
    told = {(one.labels["model"], one.labels["version"]): one.labels["source"] for one in samples}
    with Client(busy.grpc) as client:
        assert told == {(model.name, model.version): model.tuning for model in client.models()}
    assert set(told.values()) <= {"measured", "read"}


def test_failures_are_counted_from_0_before_the_first(busy: Server) -> None:
    """Else the first burst would have no increase that Prometheus could see."""
    metrics = scrape(busy)
    zeros = {
        (sample.labels["model"], sample.labels.get("reason") or sample.labels["code"])
        for name in ("menagerie_requests", "menagerie_dropped")
        for sample in metrics[name].samples
        if sample.name.endswith("_total") and sample.value == 0
    }
    assert {("tiny-animals", "UNAVAILABLE"), ("tiny-animals", "queue_full")} <= zeros


def test_tritons_names_have_the_same_figures(busy: Server) -> None:
    metrics = scrape(busy)

    def value(name: str, sample: str, **labels: str) -> float:
        return sum(
            one.value
            for one in metrics[name].samples
            if one.name == sample and labels.items() <= one.labels.items()
        )

    served = {"model": "cats-vs-dogs", "version": VERSION}
    ok = value("menagerie_requests", "menagerie_requests_total", code="OK", **served)
    assert (
        ok == value("nv_inference_request_success", "nv_inference_request_success", **served) == 3
    )
    failed = metrics["nv_inference_request_failure"].samples
    assert sum(sample.value for sample in failed) >= 2
    assert {sample.labels["reason"] for sample in failed} <= {
        "REJECTED",
        "CANCELED",
        "OTHER",
        "BACKEND",
    }
    queue = value("menagerie_queue_seconds", "menagerie_queue_seconds_sum", **served)
    assert value(
        "nv_inference_queue_duration_us", "nv_inference_queue_duration_us", **served
    ) == pytest.approx(queue * 1e6)
    images = value("nv_inference_count", "nv_inference_count", **served)
    assert images == value("menagerie_batch_size", "menagerie_batch_size_sum", **served) >= 3


def test_every_name_of_tritons_on_the_page_is_served(busy: Server) -> None:
    names = set(re.findall(r"`(nv_inference_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert len(names) >= 8
    assert names <= scrape(busy).keys()


def test_a_server_whose_stderr_nobody_reads_goes_on_serving(tiny_repository: str) -> None:
    """See tests/unit/server/telemetry/test_logs.py for what becomes of the lines."""
    request = classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=b"no image"))
    with (
        run_server("--repository", tiny_repository, reads_log=False) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        for _ in range(1000):  # a line each: several times what a pipe holds
            with pytest.raises(grpc.RpcError) as caught:
                stub.Classify(request, timeout=30)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert server.terminate() == 0
