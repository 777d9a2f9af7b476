"""Three times more requests than the server can answer: ``python -m benchmarks.overload``.

A ResNet-18 (``--network``) at 224 pixels first answers a closed loop: its peak. Then requests
arrive at random (Poisson) at a multiple of that, each with a deadline, whether the server keeps up
or not; latencies count from the moment a request was due, not from when it was sent. Goodput is
what is answered in time, over the peak of the same round. Before and after, one caller at a time
says what is normal and how long after the overload it is so again. For ten minutes of it:
``--rounds 1 --overload-seconds 600``. Fails where goodput, refusals or recovery miss what
docs/reference/guarantees.md promises.

Where there are several cores the generator has the last one to itself, and the server the others:
in the field callers bring their own, and three times the requests take the time of three times the
callers. ``--share-cores`` lets both have all.
"""

import argparse
import asyncio
import platform
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import cycle
from math import inf
from pathlib import Path

import grpc

from benchmarks import artifact
from benchmarks.networks import torchvision_resnet
from benchmarks.overhead import UNARY
from benchmarks.processes import ROOT, Contender, contender
from benchmarks.serving import cores
from proto.classify.v1 import classify_pb2
from server.pipeline.cores import usable_cores

PHOTOS = ROOT / "examples" / "photos"
MIN_GOODPUT, MAX_REFUSAL_S, MAX_RECOVERY_S = 0.9, 0.05, 2.0
Call = Callable[[bytes], Awaitable[bytes]]
_NORMAL_CALLS = 5
_LONGEST_WAIT_S = 30.0  # for recovery


@dataclass
class Round:
    """What became of the requests of one round.

    Attributes:
        seconds: Of the overload.
        peaks: Requests a second in the closed loop, before and after the overload: a machine that
            others share is not as fast all the time.
        cpu_us: Microseconds of the server's processor for an answer, at the peak, overloaded and at
            the peak again: what the second is more goes to refusals.
        outcomes: Requests by status; "late" for those answered after the deadline.
        answer_s: Latencies of the answered.
        refusal_s: Latencies of the refused.
        normal_s: What an answer takes that nothing delays: the slowest of a few.
        recovery_s: From the end of the overload until answers take no longer than that.
    """

    seconds: float
    peaks: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    answer_s: list[float] = field(default_factory=list)
    refusal_s: list[float] = field(default_factory=list)
    normal_s: float = 0.0
    recovery_s: float = float("nan")

    @property
    def peak(self) -> float:
        """Requests a second that it answers at most."""
        return statistics.mean(self.peaks)

    @property
    def goodput(self) -> float:
        """Answered in time, over the peak."""
        return self.outcomes["OK"] / self.seconds / self.peak


async def closed_loop(
    server: Contender, messages: list[bytes], in_flight: int, seconds: float, result: Round
) -> None:
    """Find the peak, with ``in_flight`` calls always open."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.unary_unary(UNARY)
        done, began, cpu_s = 0, time.perf_counter(), server.cpu_s()

        async def caller(turn: int) -> None:
            nonlocal done
            while time.perf_counter() - began < seconds:
                await call(messages[turn % len(messages)])
                done, turn = done + 1, turn + 1

        await asyncio.gather(*(caller(turn) for turn in range(in_flight)))
        result.peaks.append(done / (time.perf_counter() - began))
        result.cpu_us.append((server.cpu_s() - cpu_s) / done * 1e6)


async def overload(
    server: Contender,
    messages: list[bytes],
    rate: float,
    deadline_s: float,
    result: Round,
    seed: int,
) -> float:
    """Send at ``rate`` a second, whatever comes back; returns when the last one was due."""
    chance = random.Random(seed)
    async with grpc.aio.insecure_channel(server.address) as channel:
        send = channel.unary_unary(UNARY)

        async def call(number: int, due: float) -> None:
            left = due + deadline_s - time.perf_counter()
            try:
                await send(messages[number % len(messages)], timeout=left)
            except grpc.aio.AioRpcError as error:
                result.outcomes[error.code().name] += 1
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    result.refusal_s.append(time.perf_counter() - due)
                return
            latency = time.perf_counter() - due
            result.outcomes["OK" if latency <= deadline_s else "late"] += 1
            result.answer_s.append(latency)

        under_way: set[asyncio.Future[None]] = set()
        due = began = time.perf_counter()
        number, cpu_s = 0, server.cpu_s()
        while (due := due + chance.expovariate(rate)) < began + result.seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            one, number = asyncio.ensure_future(call(number, due)), number + 1
            under_way.add(one)
            one.add_done_callback(under_way.discard)
        ended = time.perf_counter()
        await asyncio.gather(*under_way)
        result.cpu_us.append((server.cpu_s() - cpu_s) / max(1, result.outcomes["OK"]) * 1e6)
    return ended


async def alone(address: str, messages: list[bytes]) -> float:
    """The slowest of a few calls, one after the other, in seconds."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(UNARY)
        return max([await _seconds(call, message) for message in messages * 2])


async def recovery(address: str, messages: list[bytes], normal_s: float, ended: float) -> float:
    """Seconds from ``ended`` until a few calls, one after the other, are as quick as normal."""
    quick, since = 0, ended
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(UNARY)
        for message in cycle(messages):
            if time.perf_counter() - ended > _LONGEST_WAIT_S:
                return inf
            if await _seconds(call, message) > normal_s:
                quick, since = 0, time.perf_counter()
            else:
                quick += 1
            if quick == _NORMAL_CALLS:
                break
    return since - ended


async def _seconds(call: Call, message: bytes) -> float:
    began = time.perf_counter()
    await call(message)
    return time.perf_counter() - began


def main() -> int:
    """Run the rounds; print medians and ranges; returns the exit code."""
    arguments = _arguments()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.repository is None:
            network = torchvision_resnet(arguments.network)
            artifact.publish(Path(folder), arguments.network, network, 224, photos)
        rounds = _rounds(arguments.repository or Path(folder), photos, arguments)
    _report(rounds, arguments)
    return 0 if all(_keeps_the_promise(one) for one in rounds) else 1


def _keeps_the_promise(one: Round) -> bool:
    refused_s = _percentile(one.refusal_s, 0.99) if one.refusal_s else 0.0
    quick = refused_s <= MAX_REFUSAL_S and one.recovery_s <= MAX_RECOVERY_S
    return one.goodput >= MIN_GOODPUT and quick


def _rounds(repository: Path, photos: list[bytes], arguments: argparse.Namespace) -> list[Round]:
    messages = [
        classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=photo)).SerializeToString()
        for photo in photos
    ]
    rounds = []
    theirs, ours = cores.shares("unary" if arguments.share_cores else "overload")
    command = ("-m", "server", "--repository", str(repository), "--log-level", "warning")
    with (
        cores.on(theirs),  # the server takes over what it is started with
        contender(*command, "--engine", "torchscript") as server,
        cores.on(ours),
    ):
        for seed in range(arguments.rounds):
            result = Round(arguments.overload_seconds or arguments.seconds)
            asyncio.run(closed_loop(server, messages, 32, arguments.seconds, result))
            result.normal_s = asyncio.run(alone(server.address, messages))
            rate, deadline_s = arguments.times * result.peak, arguments.deadline_ms / 1000
            ended = asyncio.run(overload(server, messages, rate, deadline_s, result, seed))
            result.recovery_s = asyncio.run(
                recovery(server.address, messages, result.normal_s, ended)
            )
            asyncio.run(closed_loop(server, messages, 32, arguments.seconds, result))
            rounds.append(result)
    return rounds


def _report(rounds: list[Round], arguments: argparse.Namespace) -> None:
    print(f"Python {platform.python_version()}, grpc {grpc.__version__}, {usable_cores()} cores")
    print(
        f"{arguments.times} times the peak, deadline {arguments.deadline_ms:.0f} ms,"
        f" {arguments.rounds} rounds of {rounds[0].seconds:.0f} s"
    )
    outcomes = sum((one.outcomes for one in rounds), Counter[str]())
    total = outcomes.total()
    print(", ".join(f"{name} {count / total:.2%}" for name, count in outcomes.most_common()))
    for name, values, unit in (
        ("peak", [one.peak for one in rounds], "requests/s"),
        ("goodput over peak", [one.goodput for one in rounds], ""),
        ("answers, p99", [1000 * _percentile(one.answer_s, 0.99) for one in rounds], "ms"),
        ("refusals, p50", [1000 * _percentile(one.refusal_s, 0.50) for one in rounds], "ms"),
        ("refusals, p99", [1000 * _percentile(one.refusal_s, 0.99) for one in rounds], "ms"),
        ("normal, alone", [1000 * one.normal_s for one in rounds], "ms"),
        ("server's CPU an answer, peak", [one.cpu_us[0] / 1000 for one in rounds], "ms"),
        ("server's CPU an answer, overload", [one.cpu_us[1] / 1000 for one in rounds], "ms"),
        ("recovery", [one.recovery_s for one in rounds], "s"),
    ):
        spread = f"({min(values):.2f} to {max(values):.2f})"
        print(f"{name:32s} {statistics.median(values):8.2f} {unit} {spread}")


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else float("nan")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("resnet18", "resnet50"), default="resnet18")
    parser.add_argument("--repository", type=Path, help="its default model instead")
    parser.add_argument("--times", type=float, default=3.0, help="of the peak")
    parser.add_argument("--deadline-ms", type=float, default=500.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of the closed loop")
    parser.add_argument("--overload-seconds", type=float, help="of the overload; else as long")
    parser.add_argument("--share-cores", action="store_true", help="with the generator")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
