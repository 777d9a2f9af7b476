"""What a measurement depends on: the device and the libraries that compute on it."""

import platform
from pathlib import Path

import torch

from server.pipeline.cores import usable_cores

_CPU_INFO = Path("/proc/cpuinfo")


def machine_facts(device: torch.device) -> dict[str, object]:
    """What must be the same for a measurement to be worth anything elsewhere; fit for JSON.

    Args:
        device: Where models run.
    """
    facts: dict[str, object] = {
        "device": device.type,
        "torch": torch.__version__,
        "git": torch.version.git_version,
        "processor": _processor(),
        "cores": usable_cores(),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["capability"] = list(torch.cuda.get_device_capability(device))
        facts["cuda"] = torch.version.cuda
        return facts
    capabilities = torch.cpu.get_capabilities()
    return facts | {
        # Without the core counts, which are the host's.
        "capabilities": {
            name: str(value) for name, value in capabilities.items() if "num_" not in name
        },
    }


def _processor() -> str:
    """The model's name, proc(5); elsewhere what Python knows of it."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
