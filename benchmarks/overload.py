"""Three times more requests than the server can answer: ``python -m benchmarks.overload``.

A ResNet-18 at 224 pixels first answers a closed loop: its peak. Then requests arrive at random
(Poisson) at a multiple of that, each with a deadline, whether the server keeps up or not; latencies
count from the moment a request was due, not from when it was sent. Goodput is what is answered in
time, over the peak of the same round. Generator and server share the machine.
"""

import argparse
import asyncio
import platform
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from benchmarks import artifact
from benchmarks.networks import resnet18
from benchmarks.processes import ROOT, serving
from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from server.pipeline.cores import usable_cores

PHOTOS = ROOT / "examples" / "photos"


@dataclass
class Round:
    """What became of the requests of one round.

    Attributes:
        peak: Requests a second in the closed loop.
        seconds: Of the overload.
        outcomes: Requests by status; "late" for those answered after the deadline.
        answer_s: Latencies of the answered.
        refusal_s: Latencies of the refused.
    """

    peak: float
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    answer_s: list[float] = field(default_factory=list)
    refusal_s: list[float] = field(default_factory=list)

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
) -> None:
    """Send at ``rate`` a second, whatever comes back."""
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

        calls, began = [], time.perf_counter()
        due = began
        while (due := due + chance.expovariate(rate)) < began + result.seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.append(asyncio.ensure_future(call(len(calls), due)))
        await asyncio.gather(*calls)


def main() -> None:
    """Run the rounds; print medians and ranges."""
    arguments = _arguments()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.repository is None:
            artifact.publish(Path(folder), "resnet18", resnet18(), 224, photos)
        rounds = _rounds(arguments.repository or Path(folder), photos, arguments)
    _report(rounds, arguments)


def _rounds(repository: Path, photos: list[bytes], arguments: argparse.Namespace) -> list[Round]:
    rounds = []
    with serving(repository, "--log-level", "warning") as address:
        for seed in range(arguments.rounds):
            peak = asyncio.run(closed_loop(address, photos, 32, arguments.seconds))
            result = Round(peak, arguments.seconds)
            rate, deadline_s = arguments.times * peak, arguments.deadline_ms / 1000
            asyncio.run(overload(address, photos, rate, deadline_s, result, seed))
            rounds.append(result)
    return rounds


def _report(rounds: list[Round], arguments: argparse.Namespace) -> None:
    print(f"Python {platform.python_version()}, grpc {grpc.__version__}, {usable_cores()} cores")
    print(
        f"{arguments.times} times the peak, deadline {arguments.deadline_ms:.0f} ms,"
        f" {arguments.rounds} rounds of {arguments.seconds:.0f} s"
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
    parser.add_argument("--seconds", type=float, default=5.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
