"""Metrics of cgroups, read from files like the kernel's, and of GPUs."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from server.telemetry.host import CgroupCollector, gpu_collector

pynvml = pytest.importorskip("pynvml", reason="the extra 'gpu' is not installed")


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content + "\n")


def values(collector) -> dict[str, float]:
    return {
        sample.name.removeprefix("menagerie_cgroup_"): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


def test_version_2(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/pod/server\n")
    write(
        tmp_path / "root" / "pod" / "server",
        cpu__stat="usage_usec 9\nnr_periods 100\nnr_throttled 25\nthrottled_usec 1500000",
        cpu__max="150000 100000",
        memory__current="1048576",
        memory__max="2097152",
    )
    assert values(CgroupCollector(tmp_path / "root", tmp_path / "cgroup")) == {
        "cpu_periods_total": 100,
        "cpu_throttled_periods_total": 25,
        "cpu_throttled_seconds_total": 1.5,
        "cpu_limit_cores": 1.5,
        "memory_bytes": 2**20,
        "memory_limit_bytes": 2**21,
    }


def test_version_2_without_limits(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    write(tmp_path / "root", cpu__stat="usage_usec 9", cpu__max="max 100000", memory__max="max")
    assert values(CgroupCollector(tmp_path / "root", tmp_path / "cgroup")) == {}


def test_version_1(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("4:memory:/pod\n1:cpu,cpuacct:/pod\n0::/\n")
    root = tmp_path / "root"
    write(
        root / "cpu" / "pod",
        cpu__stat="nr_periods 4\nnr_throttled 2\nthrottled_time 500000000",
        cpu__cfs_quota_us="200000",
        cpu__cfs_period_us="100000",
    )
    write(
        root / "memory" / "pod",
        memory__usage_in_bytes="7",
        memory__limit_in_bytes="9223372036854771712",  # what v1 writes where there is no limit
    )
    assert values(CgroupCollector(root, tmp_path / "cgroup")) == {
        "cpu_periods_total": 4,
        "cpu_throttled_periods_total": 2,
        "cpu_throttled_seconds_total": 0.5,
        "cpu_limit_cores": 2,
        "memory_bytes": 7,
    }


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert values(CgroupCollector(tmp_path / "none", tmp_path / "nor-this")) == {}


def test_gpus_say_what_they_can(monkeypatch) -> None:
    """The driver is played, by functions that the real binding has."""

    def cannot(_gpu: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    replies = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda gpu: f"GPU-{gpu}",
        "nvmlDeviceGetMemoryInfo": lambda _gpu: SimpleNamespace(used=3, total=9),
        "nvmlDeviceGetUtilizationRates": lambda _gpu: SimpleNamespace(gpu=40, memory=1),
        "nvmlDeviceGetTemperature": lambda _gpu, _sensor: 61,
        "nvmlDeviceGetPowerUsage": cannot,
    }
    for name, reply in replies.items():
        monkeypatch.setattr(pynvml, name, reply)
    collector = gpu_collector()
    assert collector is not None
    samples = [sample for metric in collector.collect() for sample in metric.samples]
    assert {sample.labels["gpu"] for sample in samples} == {"GPU-0"}
    assert {sample.name.removeprefix("menagerie_gpu_"): sample.value for sample in samples} == {
        "memory_used_bytes": 3,
        "memory_total_bytes": 9,
        "utilization_ratio": 0.4,
        "temperature_celsius": 61,
    }


def test_without_a_driver_there_are_no_gpu_metrics(monkeypatch, caplog) -> None:
    def fails() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fails)
    assert gpu_collector() is None
    assert "no GPU metrics" in caplog.text
