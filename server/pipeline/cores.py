"""How many cores this process may really use, and how they are shared out."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

_ACCELERATOR_LANES = 2
_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Allotment:
    """Threads for each step.

    Attributes:
        lanes: Batches that run at the same time.
        threads_per_lane: Intra-op threads of each.
        decoders: Images decoded at the same time.
    """

    lanes: int
    threads_per_lane: int
    decoders: int


def usable_cores(cgroup: Path = _CGROUP_V2) -> int:
    """Cores by CPU affinity and by the container's quota, at least 1.

    Source of the format: kernel documentation, cgroup v2, "cpu.max".
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup.read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2 here: affinity is all there is
    return max(1, cores)


def allot(
    cores: int,
    *,
    accelerator: bool,
    lanes: int,
    threads: int,
    decoders: int,
    lanes_of: Callable[[int], int],
) -> Allotment:
    """Share ``cores`` out; a positive count is kept as given, 0 is chosen here.

    An accelerator has two lanes, of which one computes while the other's batch is copied; the
    host's cores decode. There are as many decoders as cores: they sleep while nothing waits, and
    fewer could starve the lanes.

    Args:
        cores: That there are.
        accelerator: Whether models run on one.
        lanes: Batches that run at the same time.
        threads: Of each lane.
        decoders: Images decoded at the same time.
        lanes_of: How many lanes that many cores are best shared out in.
    """
    chosen_lanes = lanes or (
        _ACCELERATOR_LANES if accelerator else _lanes(cores, threads, lanes_of)
    )
    return Allotment(
        lanes=chosen_lanes,
        threads_per_lane=threads or (1 if accelerator else max(1, cores // chosen_lanes)),
        decoders=decoders or cores,
    )


def _lanes(cores: int, threads: int, lanes_of: Callable[[int], int]) -> int:
    return max(1, cores // threads) if threads else lanes_of(cores)
