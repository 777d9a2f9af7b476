"""Three times more requests than the server can answer: ``python -m benchmarks.overload``.

A ResNet-18 at 224 pixels first answers a closed loop: its peak. Then requests arrive at random
(Poisson) at a multiple of that, each with a deadline, whether the server keeps up or not; latencies
count from the moment a request was due, not from when it was sent. Goodput is what is answered in
time, over the peak of the same round. Generator and server share the machine. Before and after,
one caller at a time says what is normal and how long after the overload it is so again. For ten
minutes of it: ``--rounds 1 --overload-seconds 600``. Fails where goodput, refusals or recovery
miss what docs/reference/guarantees.md promises.
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
from dataclasses import dataclass, field
from itertools import cycle
from math import inf
from pathlib import Path

import grpc

from benchmarks import artifact
from benchmarks.networks import resnet18
from benchmarks.processes import ROOT, serving
from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from server.pipeline.cores import usable_cores

PHOTOS = ROOT / "examples" / "photos"
MIN_GOODPUT, MAX_REFUSAL_S, MAX_RECOVERY_S = 0.9, 0.05, 2.0
_NORMAL_CALLS = 5
_LONGEST_WAIT_S = 30.0  # for recovery


@dataclass
class Round:
    """What became of the requests of one round.

    Attributes:
        peak: Requests a second in the closed loop.
        seconds: Of the overload.
        outcomes: Requests by status; "late" for those answered after the deadline.
        answer_s: Latencies of the answered.
        refusal_s: Latencies of the refused.
        normal_s: What an answer takes that nothing delays: the slowest of a few.
        recovery_s: From the end of the overload until answers take no longer than that.
    """

    peak: float
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    answer_s: list[float] = field(default_factory=list)
    refusal_s: list[float] = field(default_factory=list)
    normal_s: float = 0.0
    recovery_s: float = float("nan")

    @property
    def goodput(self) -> float:
        """Answered in time, over the peak."""
        return self.outcomes["OK"] / self.seconds / self.peak


async def closed_loop(address: str, photos: list[bytes], in_flight: int, seconds: float) -> float:
    """Requests a second with ``in_flight`` calls always open."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        done, began = 0, time.perf_counter()

        async def caller(turn: int) -> None:
            nonlocal done
            while time.perf_counter() - began < seconds:
                image = classify_pb2.Image(encoded=photos[turn % len(photos)])
                await stub.Classify(classify_pb2.ClassifyRequest(image=image))
                done, turn = done + 1, turn + 1

        await asyncio.gather(*(caller(turn) for turn in range(in_flight)))
        return done / (time.perf_counter() - began)


async def overload(
    address: str, photos: list[bytes], rate: float, deadline_s: float, result: Round, seed: int
) -> float:
    """Send at ``rate`` a second, whatever comes back; returns when the last one was due."""
    chance = random.Random(seed)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)

        async def call(number: int, due: float) -> None:
            image = classify_pb2.Image(encoded=photos[number % len(photos)])
            left = due + deadline_s - time.perf_counter()
            try:
                await stub.Classify(classify_pb2.ClassifyRequest(image=image), timeout=left)
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
        number = 0
        while (due := due + chance.expovariate(rate)) < began + result.seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            one, number = asyncio.ensure_future(call(number, due)), number + 1
            under_way.add(one)
            one.add_done_callback(under_way.discard)
        ended = time.perf_counter()
        await asyncio.gather(*under_way)
    return ended


async def alone(address: str, photos: list[bytes]) -> float:
    """The slowest of a few calls, one after the other, in seconds."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        return max([await _seconds(stub, photo) for photo in photos * 2])


async def recovery(address: str, photos: list[bytes], normal_s: float, ended: float) -> float:
    """Seconds from ``ended`` until a few calls, one after the other, are as quick as normal."""
    quick, since = 0, ended
    async with grpc.aio.insecure_channel(address) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        for photo in cycle(photos):
            if time.perf_counter() - ended > _LONGEST_WAIT_S:
                return inf
            if await _seconds(stub, photo) > normal_s:
                quick, since = 0, time.perf_counter()
            else:
                quick += 1
            if quick == _NORMAL_CALLS:
                break
    return since - ended


async def _seconds(stub: classify_pb2_grpc.ClassifyServiceStub, photo: bytes) -> float:
    began = time.perf_counter()
    await stub.Classify(classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=photo)))
    return time.perf_counter() - began


def main() -> int:
    """Run the rounds; print medians and ranges; returns the exit code."""
    arguments = _arguments()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.repository is None:
            artifact.publish(Path(folder), "resnet18", resnet18(), 224, photos)
        rounds = _rounds(arguments.repository or Path(folder), photos, arguments)
    _report(rounds, arguments)
    return 0 if all(_keeps_the_promise(one) for one in rounds) else 1


def _keeps_the_promise(one: Round) -> bool:
    refused_s = _percentile(one.refusal_s, 0.99) if one.refusal_s else 0.0
    quick = refused_s <= MAX_REFUSAL_S and one.recovery_s <= MAX_RECOVERY_S
    return one.goodput >= MIN_GOODPUT and quick


def _rounds(repository: Path, photos: list[bytes], arguments: argparse.Namespace) -> list[Round]:
    rounds = []
    with serving(repository, "--log-level", "warning") as address:
        for seed in range(arguments.rounds):
            peak = asyncio.run(closed_loop(address, photos, 32, arguments.seconds))
            normal_s = asyncio.run(alone(address, photos))
            seconds = arguments.overload_seconds or arguments.seconds
            result = Round(peak, seconds, normal_s=normal_s)
            rate, deadline_s = arguments.times * peak, arguments.deadline_ms / 1000
            ended = asyncio.run(overload(address, photos, rate, deadline_s, result, seed))
            result.recovery_s = asyncio.run(recovery(address, photos, normal_s, ended))
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
        ("recovery", [one.recovery_s for one in rounds], "s"),
    ):
        spread = f"({min(values):.2f} to {max(values):.2f})"
        print(f"{name:18s} {statistics.median(values):8.2f} {unit} {spread}")


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else float("nan")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, help="another's default model")
    parser.add_argument("--times", type=float, default=3.0, help="of the peak")
    parser.add_argument("--deadline-ms", type=float, default=500.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of the closed loop")
    parser.add_argument("--overload-seconds", type=float, help="of the overload; else as long")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
