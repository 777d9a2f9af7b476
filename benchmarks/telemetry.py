"""What observing costs: ``python -m benchmarks.telemetry``.

One server with the bundled model answers the same photos by turns as it comes, with logs of 1% of
the requests, traces of 1% to a receiver, metrics and model health, and with every observation left
out; a signal switches between the two. What counts is the ratio of its CPU seconds for a request,
which a busy machine disturbs less than the ratio of requests a second, shown beside it.
"""

import argparse
import asyncio
import os
import runpy
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from benchmarks.processes import ROOT, free_address
from client import AsyncClient, Client

PHOTOS = ROOT / "examples" / "photos"
_OBSERVED = ("--log-request-share", "0.01", "--trace-share", "0.01")


@dataclass(frozen=True)
class Contender:
    """A server and its process."""

    address: str
    process: int

    def cpu_s(self) -> float:
        """CPU seconds so far (proc(5), stat: utime and stime)."""
        fields = Path(f"/proc/{self.process}/stat").read_text(encoding="ascii").rpartition(")")[2]
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans and forgets them."""

    def Export(  # noqa: D102
        self, _request: object, _context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def receiving() -> Iterator[str]:
    """An OTLP receiver; gives its endpoint."""
    server, address = grpc.server(futures.ThreadPoolExecutor(1)), free_address()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Receiver(), server)
    server.add_insecure_port(address)
    server.start()
    yield f"http://{address}"
    server.stop(None)


@contextmanager
def serving(*command: str) -> Iterator[Contender]:
    """A server, ready inside the block."""
    address = free_address()
    process = subprocess.Popen(
        [sys.executable, *command, "--metrics-port", "0", "--port", address.rpartition(":")[2]],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client(address) as client:
            client.wait_until_serving(timeout_s=300)
        yield Contender(address, process.pid)
    finally:
        process.terminate()
        process.wait()


def serve_switched() -> None:
    """Run the server; SIGUSR1 switches every observation off, and on again."""
    from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415

    from server.catalog.watch import Watch  # noqa: PLC0415
    from server.telemetry.request_log import RequestLog  # noqa: PLC0415
    from server.telemetry.tracing import Tracing  # noqa: PLC0415

    watched = [
        (owner, name, getattr(owner, name))
        for owner, name in (
            (Counter, "inc"), (Gauge, "inc"), (Gauge, "dec"), (Histogram, "observe"),
            (RequestLog, "write"), (Watch, "observe"), (Tracing, "begin"),
        )
    ]  # fmt: skip
    states = cycle((False, True))

    def nothing(*_arguments: object, **_named: object) -> None:
        return None

    def switch(*_signal: object) -> None:
        observed = next(states)
        for owner, name, method in watched:
            setattr(owner, name, method if observed else nothing)

    signal.signal(signal.SIGUSR1, switch)
    runpy.run_module("server", run_name="__main__")


async def load(address: str, photos: list[bytes], requests: int, in_flight: int) -> None:
    """Have so many requests answered."""
    left = islice(cycle(photos), requests)
    async with AsyncClient(address, timeout_s=60) as client:

        async def caller() -> None:
            for photo in left:
                await client.classify(photo)

        await asyncio.gather(*(caller() for _ in range(in_flight)))


def measured(server: Contender, photos: list[bytes], requests: int) -> tuple[float, float]:
    """CPU milliseconds of the server for a request, and requests a second."""
    cpu_s, began = server.cpu_s(), time.perf_counter()
    asyncio.run(load(server.address, photos, requests, in_flight=16))
    elapsed_s = time.perf_counter() - began
    return (server.cpu_s() - cpu_s) / requests * 1000, requests / elapsed_s


def main() -> None:
    """Run the rounds; print medians, spreads and ratios."""
    if "--server" in sys.argv:
        sys.argv.remove("--server")
        serve_switched()
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    rounds: dict[str, list[tuple[float, float]]] = {"observed": [], "unobserved": []}
    command = ("-m", "benchmarks.telemetry", "--server", *_OBSERVED)
    with receiving() as endpoint, serving(*command, "--otlp-endpoint", endpoint) as server:
        measured(server, photos, 3 * arguments.requests)
        for number in range(arguments.rounds):
            # On, off, off, on: what drifts with time touches both alike.
            for name in sorted(rounds, reverse=bool(number % 2)):
                rounds[name].append(measured(server, photos, arguments.requests))
                if name == sorted(rounds, reverse=bool(number % 2))[0]:
                    os.kill(server.process, signal.SIGUSR1)
    _report(rounds)


def _report(rounds: dict[str, list[tuple[float, float]]]) -> None:
    for name, figures in rounds.items():
        cpu, rate = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{name:11s} {cpu:6.2f} CPU ms a request, {rate:6.1f} requests/s")
    pairs = list(zip(rounds["observed"], rounds["unobserved"], strict=True))
    for title, column in (("CPU", 0), ("requests/s", 1)):
        ratios = sorted(one[column] / other[column] for one, other in pairs)
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        print(f"observed / unobserved, {title}: {statistics.median(ratios):.3f} ({spread})")


if __name__ == "__main__":
    main()
