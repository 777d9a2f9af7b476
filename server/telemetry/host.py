"""Metrics of what surrounds the server: its cgroup's limits and throttling, and its GPUs."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

_CGROUPS = Path("/sys/fs/cgroup")
_PROCESS_CGROUP = Path("/proc/self/cgroup")
_MICROSECONDS = 1e6
_NANOSECONDS = 1e9
_UNLIMITED = 2**60  # cgroup v1 writes a number near 2^63 where there is no limit


class CgroupCollector(Collector):
    """CPU throttling, and limits of CPU and memory, as the kernel enforces them.

    Reads cgroup v2 (kernel: Documentation/admin-guide/cgroup-v2.rst), else v1. What the
    kernel does not tell is left out.

    Args:
        root: Where cgroups are mounted.
        membership: The process's /proc/<pid>/cgroup.
    """

    def __init__(self, root: Path = _CGROUPS, membership: Path = _PROCESS_CGROUP) -> None:
        self._folders = _folders(root, membership)

    def collect(self) -> Iterable[Metric]:
        """What the kernel says now."""
        stat = dict(
            line.split(maxsplit=1)
            for line in (self._read("cpu", "cpu.stat") or "").splitlines()
            if " " in line
        )
        throttled_s = _scaled(stat.get("throttled_usec"), _MICROSECONDS)
        if throttled_s is None:
            throttled_s = _scaled(stat.get("throttled_time"), _NANOSECONDS)
        yield from _counter(
            "cpu_periods", "Scheduler periods in which the CPU limit applied.",
            _scaled(stat.get("nr_periods")),
        )  # fmt: skip
        yield from _counter(
            "cpu_throttled_periods", "Scheduler periods in which the CPU limit was reached.",
            _scaled(stat.get("nr_throttled")),
        )  # fmt: skip
        yield from _counter(
            "cpu_throttled_seconds", "Time that threads were held back by the CPU limit.",
            throttled_s,
        )  # fmt: skip
        yield from _gauge("cpu_limit_cores", "CPU limit, in cores.", self._cpu_limit())
        memory = self._read("memory", "memory.current", "memory.usage_in_bytes")
        yield from _gauge("memory_bytes", "Memory in use, page cache included.", _scaled(memory))
        yield from _gauge("memory_limit_bytes", "Memory limit.", self._memory_limit())

    def _cpu_limit(self) -> float | None:
        quota = (self._read("cpu", "cpu.max") or "").split()
        if not quota:
            quota = [
                self._read("cpu", "cpu.cfs_quota_us") or "-1",
                self._read("cpu", "cpu.cfs_period_us") or "0",
            ]
        limit, period = _scaled(quota[0]), _scaled(quota[-1])
        return limit / period if limit and period and limit > 0 else None

    def _memory_limit(self) -> float | None:
        limit = _scaled(self._read("memory", "memory.max", "memory.limit_in_bytes"))
        return limit if limit is not None and limit < _UNLIMITED else None

    def _read(self, controller: str, *names: str) -> str | None:
        for folder in self._folders.get(controller, ()):
            for name in names:
                try:
                    return (folder / name).read_text(encoding="ascii").strip()
                except (OSError, UnicodeDecodeError):
                    continue
        return None


class GpuCollector(Collector):
    """Memory, utilisation, temperature and power of each GPU, through NVML.

    Raises:
        ImportError: nvidia-ml-py is not installed.
        pynvml.NVMLError: There is no driver.
    """

    def __init__(self) -> None:
        import pynvml  # noqa: PLC0415 - an extra

        pynvml.nvmlInit()
        self._nvml = pynvml
        self._gpus: dict[str, object] = {}
        for index in range(pynvml.nvmlDeviceGetCount()):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            self._gpus[pynvml.nvmlDeviceGetUUID(gpu)] = gpu

    def collect(self) -> Iterable[Metric]:
        """What the driver says now; what a GPU cannot tell is left out."""
        for name, (meaning, read) in self._readings().items():
            family = GaugeMetricFamily(f"menagerie_gpu_{name}", meaning, labels=("gpu",))
            for uuid, gpu in self._gpus.items():
                try:
                    family.add_metric((uuid,), read(gpu))
                except self._nvml.NVMLError:
                    continue
            if family.samples:
                yield family

    def _readings(self) -> dict[str, tuple[str, Callable[[object], float]]]:
        nvml = self._nvml
        return {
            "memory_used_bytes": (
                "GPU memory in use.",
                lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
            ),
            "memory_total_bytes": (
                "GPU memory.",
                lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
            ),
            "utilization_ratio": (
                "Share of the last moments in which a kernel ran.",
                lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
            ),
            "temperature_celsius": (
                "GPU temperature.",
                lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
            ),
            "power_watts": ("Power drawn.", lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000),
        }


def gpu_collector() -> GpuCollector | None:
    """A collector, or None where NVML or the driver is missing; the log says which."""
    try:
        return GpuCollector()
    except ImportError:
        log.info("no GPU metrics: install the extra 'gpu' for them")
    except Exception as error:  # pynvml's own classes exist only where it does
        log.warning("no GPU metrics: %s", error)
    return None


def _folders(root: Path, membership: Path) -> dict[str, list[Path]]:
    """Where each controller's files may lie: the process's own cgroup, then the root.

    Inside a container with a cgroup namespace both are the same.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    folders: dict[str, list[Path]] = {name: [root, root / name] for name in ("cpu", "memory")}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name, found in folders.items():
            if not controllers:
                found.insert(0, root / path.lstrip("/"))
            elif name in controllers.split(","):
                found.insert(0, root / name / path.lstrip("/"))
    return folders


def _scaled(text: str | None, unit: float = 1.0) -> float | None:
    try:
        return float(text) / unit if text is not None else None
    except ValueError:  # "max"
        return None


def _counter(name: str, meaning: str, value: float | None) -> Iterable[Metric]:
    if value is not None:
        yield CounterMetricFamily(f"menagerie_cgroup_{name}", meaning, value=value)


def _gauge(name: str, meaning: str, value: float | None) -> Iterable[Metric]:
    if value is not None:
        yield GaugeMetricFamily(f"menagerie_cgroup_{name}", meaning, value=value)
