"""From a server's start to the moment when it can be measured: answering, warm, at rest."""

import asyncio
import time

from benchmarks.serving.contenders import Running
from benchmarks.serving.cpu import cpu_seconds
from client.bench.sender import OK, Target, TargetError

_READY_S = 240.0
_PAUSE_S = 0.5
_AT_ONCE = 32
_VOLLEYS = 2
_REST_S = 30.0
_AT_REST = 0.3  # cores
_TIMEOUT_S = 30.0


class NotReadyError(Exception):
    """A server ended, or did not answer in time."""


def wait_until_ready(running: Running, photo: bytes) -> float:
    """Send photos until all are answered; return the seconds that took.

    So many at once that every thread of the server gets some, and is warm then.

    Raises:
        NotReadyError: The server ended, or took too long.
    """
    began = time.monotonic()
    while time.monotonic() - began < _READY_S:
        if running.is_whole() and _all_answered(running, photo):
            return time.monotonic() - began
        if running.process.poll() is not None:
            raise NotReadyError(f"ended with {running.process.returncode}")
        time.sleep(_PAUSE_S)
    raise NotReadyError(f"not ready within {_READY_S:.0f} s")


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
        _all_answered(running, photo)
    return idle


def _cores_used(running: Running) -> float:
    began, used = time.monotonic(), cpu_seconds(running.process.pid)
    time.sleep(1.0)
    return (cpu_seconds(running.process.pid) - used) / (time.monotonic() - began)


def _all_answered(running: Running, photo: bytes) -> bool:
    """Tell whether a volley for each model is answered."""
    ways = ("unary", "second") if "second" in running.targets else ("unary",)
    return all(asyncio.run(_statuses(running.targets[way], photo)) == {OK} for way in ways)


async def _statuses(target: Target, photo: bytes) -> set[str]:
    try:
        async with target.open() as sender:
            sending = [sender.send([photo], _TIMEOUT_S) for _ in range(_AT_ONCE)]
            return {answer.status for (answer,) in await asyncio.gather(*sending)}
    except TargetError:
        return {"UNAVAILABLE"}
