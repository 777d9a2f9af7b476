"""One measurement: a server, a load, what came back and what it cost."""

import asyncio
import os
import time
from dataclasses import dataclass

from benchmarks.serving.contenders import Running
from benchmarks.serving.cpu import cpu_seconds
from client.bench.load import Load
from client.bench.photos import Photos
from client.bench.run import run
from client.bench.sender import OK, Target, TargetError
from client.bench.worker import Progress

_READY_S = 240.0
_PAUSE_S = 0.5
_AT_ONCE = 32
_VOLLEYS = 2
_REST_S = 30.0
_AT_REST = 0.3  # cores
_TIMEOUT_S = 30.0


class NotReadyError(Exception):
    """A server ended, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one measurement found; rates in photos a second, times in milliseconds.

    Attributes:
        rate: Photos answered OK a second.
        p50: Latency that half of them had at most.
        p99: Latency that 99 of 100 had at most.
        cpu_ms: Processor time of the server's processes for a photo, warm-up included.
        mean_batch: As the server tells; 0 if it does not.
        statuses: Requests by status.
        load: Processes that ran or waited on this machine, mean of the last minute.
    """

    rate: float
    p50: float
    p99: float
    cpu_ms: float
    mean_batch: float
    statuses: dict[str, int]
    load: float


def wait_until_ready(running: Running, photo: bytes) -> float:
    """Send photos until all are answered; return the seconds that took.

    So many at once that every thread of the server gets some, and is warm then.

    Raises:
        NotReadyError: The server ended, or took too long.
    """
    began = time.monotonic()
    while time.monotonic() - began < _READY_S:
        if asyncio.run(_statuses(running.target, photo)) == {OK}:
            return time.monotonic() - began
        if running.process.poll() is not None:
            raise NotReadyError(f"ended with {running.process.returncode}")
        time.sleep(_PAUSE_S)
    raise NotReadyError(f"no answer within {_READY_S:.0f} s")


def settle(running: Running, photo: bytes) -> float:
    """Wait until a server is at rest, with every worker warm; return what it uses at rest.

    Some answer as soon as one of their workers can; the others would load during a measurement.

    Returns:
        Processor time a second, 1 for a core.
    """
    for _ in range(_VOLLEYS):
        deadline = time.monotonic() + _REST_S
        while (idle := _cores_used(running)) > _AT_REST and time.monotonic() < deadline:
            pass
        asyncio.run(_statuses(running.target, photo))
    return idle


def _cores_used(running: Running) -> float:
    began, used = time.monotonic(), cpu_seconds(running.process.pid)
    time.sleep(1.0)
    return (cpu_seconds(running.process.pid) - used) / (time.monotonic() - began)


async def _statuses(target: Target, photo: bytes) -> set[str]:
    try:
        async with target.open() as sender:
            sending = [sender.send([photo], _TIMEOUT_S) for _ in range(_AT_ONCE)]
            return {answer.status for (answer,) in await asyncio.gather(*sending)}
    except TargetError:
        return {"UNAVAILABLE"}


def measure(running: Running, photos: Photos, in_flight: int, seconds: float) -> Figures:
    """Put a server under a closed loop.

    The warm-up lasts until the calls in flight have been answered about once.
    """
    warm_up_s = 1.0 + in_flight / 64
    load = Load(in_flight=in_flight, warm_up_s=warm_up_s, duration_s=seconds, timeout_s=_TIMEOUT_S)
    used: list[float] = []

    def begun(_progress: Progress) -> None:
        if not used:
            used.append(cpu_seconds(running.process.pid))

    tally = run(running.target, load, photos, progress=begun).tally
    cost = cpu_seconds(running.process.pid) - used[0]
    # Everything that was sent has been worked on, whether or not it fell into the window.
    answered = tally.sent - tally.requests + tally.statuses[OK]
    return Figures(
        rate=round(tally.answered_per_s, 2),
        p50=round(1000 * tally.answered.percentile_s(50), 2),
        p99=round(1000 * tally.answered.percentile_s(99), 2),
        cpu_ms=round(1000 * cost / max(answered, 1), 3),
        mean_batch=round(tally.mean_batch, 2),
        statuses=dict(tally.statuses),
        load=round(os.getloadavg()[0], 2),
    )
