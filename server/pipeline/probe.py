"""How many lanes a processor's cores are best shared out in, by trying.

A lane of many threads answers one image soonest; many lanes of few threads waste less on
waiting for one another, and lose less to a neighbour on one of their cores. How much depends
on the processor, so a convolution like those of the models is computed in every arrangement
before the first model is loaded.
"""

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional

from server.pipeline.machine import machine_facts
from server.pipeline.threads import compute_threads
from server.pipeline.torchscript import computes_bf16
from server.pipeline.tuning import TuningStore

log = logging.getLogger(__name__)

_LEAST_LANES = 2  # one lane of all cores collapses when a neighbour takes one of them
_NEARLY = 0.9  # of the best rate: fewer lanes answer a single image sooner
_STILL = 0.7  # of the rate at an earlier start: less, and the processor is not what it was
_ROUNDS = 3
_BATCH, _CHANNELS, _SIDE, _LAYERS = 8, 64, 28, 4  # the second stage of a ResNet at 224


def choose_lanes(cores: int, rates: Callable[[list[int]], dict[int, float]]) -> int:
    """The fewest lanes that compute nearly as much as the best arrangement.

    Args:
        cores: To share out.
        rates: Work done in a second by each number of lanes; asked only if there is a choice.
    """
    candidates = [_LEAST_LANES]
    while candidates[-1] * 2 <= cores:
        candidates.append(candidates[-1] * 2)
    if len(candidates) == 1:
        return min(_LEAST_LANES, cores)
    measured = rates(candidates)
    chosen = _fewest(measured)
    shown = {str(lanes): round(rate) for lanes, rate in measured.items()}
    log.info("lanes chosen", extra={"fields": {"lanes": chosen, "batches_per_s": shown}})
    return chosen


def known_rates(
    cores: int,
    candidates: list[int],
    store: TuningStore | None,
    measure: Callable[[int, list[int]], dict[int, float]],
) -> dict[int, float]:
    """What ``measure`` gives; or gave at an earlier start, where the best still computes as much.

    Args:
        cores: Shared out between the lanes.
        candidates: Numbers of lanes.
        store: Of earlier measurements; None: measure.
        measure: Batches a second by the number of lanes; see :func:`batches_per_s`.
    """
    if store is None:
        return measure(cores, candidates)
    facts = {
        "measured": "batches a second by lanes",
        "candidates": candidates,
        **machine_facts(torch.device("cpu")),
    }
    saved = store.find(facts, candidates)
    if saved is not None:
        chosen = _fewest(saved)
        if measure(cores, [chosen])[chosen] >= _STILL * saved[chosen]:
            return saved
    measured = measure(cores, candidates)
    store.keep(facts, measured)
    return measured


def batches_per_s(cores: int, candidates: list[int]) -> dict[int, float]:
    """Batches of a convolution a second, by the number of lanes; about a tenth of a second each.

    The arrangements run by turns, so that a neighbour slows all alike.

    Args:
        cores: Shared out between the lanes.
        candidates: Numbers of lanes.
    """
    pools = {
        lanes: compute_threads(lanes, f"probe-{lanes}", max(1, cores // lanes))
        for lanes in candidates
    }
    images, weights = _layer()
    try:
        rounds = [
            {lanes: _rate(pool, lanes, images, weights) for lanes, pool in pools.items()}
            for _ in range(_ROUNDS + 1)
        ]
    finally:
        for pool in pools.values():
            pool.shutdown()
    # The first round warms up.
    return {lanes: statistics.median(one[lanes] for one in rounds[1:]) for lanes in candidates}


def _fewest(measured: Mapping[int, float]) -> int:
    enough = _NEARLY * max(measured.values())
    return min(lanes for lanes, rate in measured.items() if rate >= enough)


def _layer() -> tuple[Tensor, Tensor]:
    dtype = torch.bfloat16 if computes_bf16(torch.device("cpu")) else torch.float32
    images = torch.zeros((_BATCH, _CHANNELS, _SIDE, _SIDE), dtype=dtype)
    weights = torch.zeros((_CHANNELS, _CHANNELS, 3, 3), dtype=dtype)
    return (
        images.contiguous(memory_format=torch.channels_last),
        weights.contiguous(memory_format=torch.channels_last),
    )


def _rate(pool: ThreadPoolExecutor, lanes: int, images: Tensor, weights: Tensor) -> float:
    began = time.perf_counter()
    for job in [pool.submit(_convolve, images, weights) for _ in range(lanes)]:
        job.result()
    return lanes / (time.perf_counter() - began)


def _convolve(images: Tensor, weights: Tensor) -> None:
    with torch.inference_mode():
        for _ in range(_LAYERS):
            functional.conv2d(images, weights, padding=1)
