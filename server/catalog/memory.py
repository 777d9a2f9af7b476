"""What a version holds in memory, reckoned before it is loaded, and whether that fits.

An estimate to plan with, not a measurement: weights count in fp32 whatever they are cast to,
and activations as if the widest map stood at the input's full size with 64 channels in fp32
(in ResNets and VGGs of the usual shapes the sum over what lives at once stays below).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from models.manifest import MODEL_NAME, TWIN_NAME, Manifest
from server.catalog.entry import Entry

_FLOAT_BYTES = 4
_WIDEST_CHANNELS = 64
_MEBIBYTE = 2**20
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class DoesNotFitError(Exception):
    """A version does not fit beside what is loaded; the message names what would have to go."""


@dataclass(frozen=True)
class Need:
    """Bytes that a version holds while it serves, and while it loads."""

    serving: int
    loading: int


def need_of(manifest: Manifest, batches: int, max_batch_size: int) -> Need:
    """What a version needs.

    Args:
        manifest: The version's.
        batches: Computed at the same time.
        max_batch_size: Images in one of them.
    """
    pixels = manifest.input.height * manifest.input.width
    activations = batches * max_batch_size * pixels * _WIDEST_CHANNELS * _FLOAT_BYTES
    weights = manifest.parameters * _FLOAT_BYTES
    files = sum(
        entry.size_bytes
        for name, entry in manifest.files.items()
        if name in (MODEL_NAME, TWIN_NAME)
    )
    # Until it is frozen there are the files, the weights as they were read, and a cast copy.
    return Need(weights + activations, files + 2 * weights + activations)


def check_fits(need: Need, entry: Entry, loaded: Sequence[Entry], budget_bytes: int) -> None:
    """Refuse a version that does not fit.

    Args:
        need: The version's.
        entry: The version.
        loaded: What holds memory now.
        budget_bytes: For all versions together.

    Raises:
        DoesNotFitError: It does not.
    """
    held = sum(other.memory_bytes for other in loaded)
    lacking = held + need.loading - budget_bytes
    if lacking <= 0:
        return
    about = f"{entry.name} version {entry.version} needs about {_mebibytes(need.loading)}"
    free = f"{_mebibytes(max(0, budget_bytes - held))} of {_mebibytes(budget_bytes)} are free"
    leaving = _to_go(loaded, lacking)
    if leaving is None:
        raise DoesNotFitError(f"{about}; {free}, and it would not fit alone either")
    names = ", ".join(
        f"{other.name} version {other.version} ({_mebibytes(other.memory_bytes)})"
        for other in leaving
    )
    raise DoesNotFitError(f"{about}; {free}: to make room, {names} would have to go")


def memory_budget(device: torch.device) -> int:
    """Bytes for model versions where the operator sets none: what is free on the device now.

    On a CPU that is the memory that can be had without swapping (proc(5), MemAvailable), within
    the control group's limit.
    """
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return int(free)
    limits = [_available(Path("/proc/meminfo")), *map(_limit, _CGROUP_LIMITS)]
    return min((limit for limit in limits if limit is not None), default=2**63 - 1)


def _to_go(loaded: Sequence[Entry], lacking: int) -> list[Entry] | None:
    """The fewest versions whose leaving makes room, largest first; None if all do not."""
    leaving: list[Entry] = []
    for other in sorted(loaded, key=lambda other: other.memory_bytes, reverse=True):
        leaving.append(other)
        if sum(each.memory_bytes for each in leaving) >= lacking:
            return leaving
    return None


def _available(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _mebibytes(count: int) -> str:
    return f"{count / _MEBIBYTE:,.1f} MiB"
