"""What observing costs: ``python -m benchmarks.telemetry``.

One server answers the same requests by turns as it comes, with logs of 1% of the requests, traces
of 1% to a receiver, metrics and model health, and with every observation left out; a signal
switches between the two. Once with an engine that costs nothing (scenario d, as in
``benchmarks.overhead``), where observing weighs most, and once with the bundled model. With
``--of record`` it is the record for replays that is switched, in a server that keeps all requests
(``--record-share``) with their images. What counts is the ratio of its CPU seconds for a request,
which a busy machine disturbs less than the ratio of requests a second, shown beside it.
"""

import argparse
import asyncio
import os
import runpy
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from benchmarks import artifact
from benchmarks.networks import Nothing
from benchmarks.overhead import SIDE, UNARY, small_image
from benchmarks.processes import ROOT, Contender, contender, free_address
from models.manifest import Reference
from proto.classify.v1 import classify_pb2

PHOTOS = ROOT / "examples" / "photos"
_OBSERVED = ("--log-request-share", "0.01", "--trace-share", "0.01")
_BINS = 10
_TIMES = 10  # as many requests where the engine costs nothing
SCENARIOS = ("nothing", "bundled")


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


def observations() -> list[tuple[object, str]]:
    """What observes, each as the owner and the name of a function."""
    from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415

    from server.catalog.version_metrics import VersionMetrics  # noqa: PLC0415
    from server.catalog.watch import Watch  # noqa: PLC0415
    from server.pipeline import decode  # noqa: PLC0415
    from server.rpc.answers import CatalogAnswers  # noqa: PLC0415
    from server.telemetry.tracing import Tracing  # noqa: PLC0415

    return [
        (Counter, "inc"), (Gauge, "inc"), (Gauge, "dec"), (Histogram, "observe"),
        (CatalogAnswers, "_observe"), (VersionMetrics, "answered"), (VersionMetrics, "computed"),
        (Watch, "observe"), (decode, "image_statistics"), (Tracing, "begin"),
    ]  # fmt: skip


def recording() -> list[tuple[object, str]]:
    """What records."""
    from server.rpc.record import Recorder  # noqa: PLC0415

    return [(Recorder, "note")]


SWITCHES = {"telemetry": observations, "record": recording}


def serve_switched(of: str) -> None:
    """Run the server; SIGUSR1 switches every observation off, and on again."""
    switched = [(owner, name, getattr(owner, name)) for owner, name in SWITCHES[of]()]
    states = cycle((False, True))

    def nothing(*_arguments: object, **_named: object) -> None:
        return None

    def switch(*_signal: object) -> None:
        observed = next(states)
        for owner, name, function in switched:
            setattr(owner, name, function if observed else nothing)

    signal.signal(signal.SIGUSR1, switch)
    runpy.run_module("server", run_name="__main__")


async def load(address: str, messages: Sequence[bytes], requests: int, in_flight: int) -> None:
    """Have so many requests answered."""
    left = islice(cycle(messages), requests)
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(UNARY)

        async def caller() -> None:
            for message in left:
                await call(message)

        await asyncio.gather(*(caller() for _ in range(in_flight)))


def measured(server: Contender, messages: Sequence[bytes], requests: int) -> tuple[float, float]:
    """CPU microseconds of the server for a request, and requests a second."""
    cpu_s, began = server.cpu_s(), time.perf_counter()
    asyncio.run(load(server.address, messages, requests, in_flight=16))
    elapsed_s = time.perf_counter() - began
    return (server.cpu_s() - cpu_s) / requests * 1e6, requests / elapsed_s


def message(image: classify_pb2.Image) -> bytes:
    """A request whose image may be kept."""
    return classify_pb2.ClassifyRequest(image=image, may_keep_image=True).SerializeToString()


def publish_nothing(root: Path, photos: Sequence[bytes]) -> None:
    """A network that costs nothing, with a reference: its traffic is followed as others' is."""
    artifact.publish(root, "nothing", Nothing().eval(), SIDE, photos, reference=_reference())


def _reference() -> Reference:
    """As wide as figures can be, so that nothing is alarming."""

    def even(most: float) -> dict[str, object]:
        edges = tuple(most * step / _BINS for step in range(_BINS + 1))
        return {"edges": edges, "shares": (1 / _BINS,) * _BINS}

    return Reference.model_validate({
        "images": 1000, "labels": (1 / _BINS,) * _BINS, "best_score": even(1.0),
        "brightness": even(255.0), "contrast": even(128.0), "saturation": even(255.0),
        "detail": even(2.0), "image_bytes": even(1e6),
    })  # fmt: skip


def compared(
    server: Contender, messages: Sequence[bytes], rounds: int, requests: int
) -> dict[str, list[tuple[float, float]]]:
    """CPU microseconds a request and requests a second, observed and unobserved, by rounds."""
    found: dict[str, list[tuple[float, float]]] = {"observed": [], "unobserved": []}
    measured(server, messages, requests)
    for number in range(rounds):
        # On, off, off, on: what drifts with time touches both alike.
        names = sorted(found, reverse=bool(number % 2))
        for name in names:
            found[name].append(measured(server, messages, requests))
            if name == names[0]:
                os.kill(server.process, signal.SIGUSR1)
    if rounds % 2:
        os.kill(server.process, signal.SIGUSR1)
    return found


def main() -> None:
    """Run the rounds; print medians, spreads and ratios."""
    if "--server" in sys.argv:
        _, _, of = sys.argv[:3]
        del sys.argv[1:3]
        serve_switched(of)
        return
    arguments = _arguments()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    command = ["-m", "benchmarks.telemetry", "--server", arguments.of]
    with tempfile.TemporaryDirectory() as folder, receiving() as endpoint:
        if arguments.of == "record":
            command += ["--record", f"{folder}/record"]
            command += ["--record-share", str(arguments.record_share)]
        else:
            command += [*_OBSERVED, "--otlp-endpoint", endpoint]
        for scenario in arguments.scenario:
            messages = [message(classify_pb2.Image(encoded=photo)) for photo in photos]
            where: list[str] = []
            if scenario == "nothing":
                publish_nothing(Path(folder, "models"), photos)
                messages = [message(small_image())]
                where = ["--repository", f"{folder}/models", "--engine", "torchscript"]
            requests = arguments.requests * (_TIMES if scenario == "nothing" else 1)
            with contender(*command, *where) as server:
                found = compared(server, messages, arguments.rounds, requests)
            _report(f"{arguments.of}, {scenario}", found)


def _report(title: str, rounds: dict[str, list[tuple[float, float]]]) -> None:
    for name, figures in rounds.items():
        cpu, rate = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{title}: {name:11s} {cpu:7.0f} CPU us a request, {rate:6.1f} requests/s")
    pairs = list(zip(rounds["observed"], rounds["unobserved"], strict=True))
    for name, column in (("CPU", 0), ("requests/s", 1)):
        ratios = sorted(one[column] / other[column] for one, other in pairs)
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f} in {len(ratios)} rounds"
        print(f"{title}: observed / unobserved, {name}: {statistics.median(ratios):.3f} ({spread})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    parser.add_argument("--of", choices=SWITCHES, default="telemetry")
    parser.add_argument("--record-share", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=300, help="of the bundled model, a turn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
