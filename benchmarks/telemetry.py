"""What observing costs: ``python -m benchmarks.telemetry``.

One server answers the same requests by turns as it comes, with logs of 1% of the requests, traces
of 1% to a receiver, metrics and model health, and with every observation left out; a signal
switches between the two. Once with an engine that costs nothing (scenario d, as in
``benchmarks.overhead``), where observing weighs most, and once with the bundled model. With
``--of record`` it is the record for replays that is switched, in a server that keeps all requests
(``--record-share``) with their images. What counts is the ratio of its CPU seconds for a request,
which a busy machine disturbs less than the ratio of requests a second, shown beside it. Both differ
by several percent from one turn to the next; so at last each of the functions that were switched
is timed (CPU seconds of its thread, as every thread's), and their share of all is what observing
costs, but for what they make others wait.
"""

import argparse
import asyncio
import atexit
import json
import os
import runpy
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
_WARM_UP = 10
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


Places = list[tuple[object, str]]


def metering() -> Places:
    """What counts and measures, each as the owner and the name of a function."""
    import prometheus_client as metrics  # noqa: PLC0415

    from server.catalog.version_metrics import VersionMetrics  # noqa: PLC0415
    from server.rpc.answers import CatalogAnswers  # noqa: PLC0415

    return [
        (metrics.Counter, "inc"), (metrics.Gauge, "inc"), (metrics.Gauge, "dec"),
        (metrics.Histogram, "observe"),
        (CatalogAnswers, "_observe"), (VersionMetrics, "answered"), (VersionMetrics, "computed"),
    ]  # fmt: skip


def following() -> Places:
    """What follows a model's health."""
    from server.catalog.watch import Watch  # noqa: PLC0415
    from server.pipeline import decode  # noqa: PLC0415

    return [(Watch, "observe"), (decode, "image_statistics")]


def tracing() -> Places:
    """What traces."""
    from server.telemetry.tracing import Tracing  # noqa: PLC0415

    return [(Tracing, "begin")]


def observing() -> Places:
    """All of these, and the log of requests."""
    return [*metering(), *following(), *tracing()]


def observing_aside() -> Places:
    """What else is timed: it has no work where nothing is observed."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    from server.pipeline.thinning import Thinning  # noqa: PLC0415
    from server.telemetry.logs import QueuedHandler  # noqa: PLC0415
    from server.telemetry.tracing import RequestTrace  # noqa: PLC0415

    return [
        (RequestTrace, "end"), (OTLPSpanExporter, "export"), (QueuedHandler, "_write_lines"),
        (Thinning, "takes_one"),
    ]  # fmt: skip


def recording() -> Places:
    """What records."""
    from server.rpc.record import Recorder  # noqa: PLC0415

    return [(Recorder, "note")]


def recording_aside() -> Places:
    """What writes the record."""
    from server.rpc import answers  # noqa: PLC0415
    from server.rpc.record import Recorder, _Segments  # noqa: PLC0415

    return [(answers, "_passed"), (Recorder, "_write"), (_Segments, "flush")]


SWITCHES = {
    "telemetry": observing, "metrics": metering, "health": following, "traces": tracing,
    "record": recording,
}  # fmt: skip


class Stopwatch:
    """CPU seconds within functions, of whatever thread calls them; nested calls count once."""

    def __init__(self) -> None:
        self.spent_ns: Counter[str] = Counter()
        self._thread = threading.local()

    def timed(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        """The function, timed under a name."""

        def call(*arguments: object, **named: object) -> object:
            if getattr(self._thread, "runs", False):
                return function(*arguments, **named)
            self._thread.runs, began = True, time.thread_time_ns()
            try:
                return function(*arguments, **named)
            finally:
                self.spent_ns[name] += time.thread_time_ns() - began
                self._thread.runs = False

        return call


def serve_switched(of: str, told: Path) -> None:
    """Run the server; SIGUSR1 switches every observation off, and on again.

    From SIGUSR2 on all are timed, and ``told`` gets their CPU seconds at the end.
    """
    switched = [(owner, name, getattr(owner, name)) for owner, name in SWITCHES[of]()]
    states = cycle((False, True))

    def nothing(*_arguments: object, **_named: object) -> None:
        return None

    def switch(*_signal: object) -> None:
        observed = next(states)
        for owner, name, function in switched:
            setattr(owner, name, function if observed else nothing)

    stopwatch = Stopwatch()

    def time_all(*_signal: object) -> None:
        atexit.register(lambda: told.write_text(json.dumps(stopwatch.spent_ns)))
        aside = recording_aside() if of == "record" else observing_aside()
        for owner, name in (*SWITCHES[of](), *aside):
            title = f"{getattr(owner, '__name__', owner)}.{name}"
            setattr(owner, name, stopwatch.timed(title, getattr(owner, name)))

    signal.signal(signal.SIGUSR1, switch)
    signal.signal(signal.SIGUSR2, time_all)
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
    root.mkdir(exist_ok=True)
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
    measured(server, messages, _WARM_UP * requests)  # until images are no longer all measured
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
        _, _, of, told = sys.argv[:4]
        del sys.argv[1:4]
        serve_switched(of, Path(told))
        return
    arguments = _arguments()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder, receiving() as endpoint:
        told = Path(folder, "told")
        command = ["-m", "benchmarks.telemetry", "--server", arguments.of, str(told)]
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
                os.kill(server.process, signal.SIGUSR2)
                cpu_us, _ = measured(server, messages, 10 * requests)
            title = f"{arguments.of}, {scenario}"
            _report(title, found)
            _report_times(title, json.loads(told.read_text()), 10 * requests, cpu_us)


def _report(title: str, rounds: dict[str, list[tuple[float, float]]]) -> None:
    for name, figures in rounds.items():
        cpu, rate = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{title}: {name:11s} {cpu:7.0f} CPU us a request, {rate:6.1f} requests/s")
    pairs = list(zip(rounds["observed"], rounds["unobserved"], strict=True))
    for name, column in (("CPU", 0), ("requests/s", 1)):
        ratios = sorted(one[column] / other[column] for one, other in pairs)
        low, median, high = statistics.quantiles(ratios, n=4)
        spread = f"quartiles {low:.3f} to {high:.3f}, {len(ratios)} rounds"
        print(f"{title}: observed / unobserved, {name}: {median:.3f} ({spread})")


def _report_times(title: str, spent_ns: dict[str, int], requests: int, cpu_us: float) -> None:
    own_us = sum(spent_ns.values()) / requests / 1000
    print(f"{title}: {own_us:.1f} of {cpu_us:.0f} CPU us a request, {own_us / cpu_us:.1%}")
    for name, spent in sorted(spent_ns.items(), key=lambda item: -item[1]):
        print(f"{title}: {spent / requests / 1000:7.2f} us in {name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    parser.add_argument("--of", choices=SWITCHES, default="telemetry")
    parser.add_argument("--record-share", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--requests", type=int, default=60, help="of the bundled model, a turn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
