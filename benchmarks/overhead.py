"""What serving itself costs: ``python -m benchmarks.overhead``.

The server answers with a network that computes next to nothing, on photos of 32 x 32 pixels that
carry a long comment: neither model nor decoder counts, and the message is as long as usual. Beside
it a bare gRPC echo takes the same bytes and gives as many as an answer has. Both are driven by the
same closed loop, by turns; what counts is the ratio of their requests a second.
"""

import argparse
import asyncio
import platform
import statistics
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import grpc
import numpy as np
from PIL import Image

from benchmarks import artifact
from benchmarks.networks import Nothing
from benchmarks.processes import ROOT, free_address, running, serving
from proto.classify.v1 import classify_pb2
from server.pipeline.cores import usable_cores

SIDE = 32  # pixels
PHOTOS = ROOT / "examples" / "photos"
UNARY = "/classify.v1.ClassifyService/Classify"
STREAM = "/classify.v1.ClassifyService/ClassifyStream"
_COMMENT_BYTES = 50_000  # a photo of 500 x 375 pixels is as long
_ANSWER_BYTES = 330


async def echo(address: str) -> None:
    """Serve both methods; answer everything with the same bytes, at once."""
    answer = classify_pb2.ClassifyResponse(request_id=_ANSWER_BYTES * "x").SerializeToString()

    async def unary(_request: bytes, _context: object) -> bytes:
        return answer

    async def stream(requests: object, _context: object) -> object:
        async for _request in requests:  # type: ignore[attr-defined]
            yield answer

    handlers = {
        "Classify": grpc.unary_unary_rpc_method_handler(unary),
        "ClassifyStream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server = grpc.aio.server()
    generic = grpc.method_handlers_generic_handler("classify.v1.ClassifyService", handlers)
    server.add_generic_rpc_handlers((generic,))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


async def unary_loop(address: str, in_flight: int, seconds: float) -> float:
    """Requests a second with ``in_flight`` unary calls always open."""
    request = classify_pb2.ClassifyRequest(image=small_image()).SerializeToString()
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(UNARY)
        await call(request, wait_for_ready=True)
        done, started = 0, time.perf_counter()

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() - started < seconds:
                await call(request)
                done += 1

        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return done / (time.perf_counter() - started)


async def stream_loop(address: str, in_flight: int, seconds: float) -> float:
    """Messages a second on one stream with ``in_flight`` of them always open."""
    item = classify_pb2.ClassifyRequest(request_id="1", image=small_image())
    request = classify_pb2.ClassifyStreamRequest(request=item).SerializeToString()
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(STREAM)(wait_for_ready=True)
        for _ in range(in_flight):
            await call.write(request)
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            await call.read()
            await call.write(request)
            done += 1
        elapsed = time.perf_counter() - started
        call.cancel()
        return done / elapsed


def small_image() -> classify_pb2.Image:
    """A JPEG of 32 x 32 pixels with a long comment."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", comment=bytes(_COMMENT_BYTES))
    return classify_pb2.Image(encoded=file.getvalue())


def main() -> None:
    """Run the rounds; print medians, spreads and ratios."""
    arguments = _arguments()
    if arguments.echo:
        asyncio.run(echo(arguments.echo))
        return
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    bare = free_address()
    with tempfile.TemporaryDirectory() as folder:
        artifact.publish(Path(folder), "nothing", Nothing().eval(), SIDE, photos)
        with serving(Path(folder)) as ours, running("benchmarks.overhead", "--echo", bare):
            contenders = {
                "echo, unary": (unary_loop, bare),
                "ours, unary": (unary_loop, ours),
                "echo, stream": (stream_loop, bare),
                "ours, stream": (stream_loop, ours),
            }
            rounds: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(arguments.rounds):
                for name, (loop, address) in contenders.items():
                    rate = asyncio.run(loop(address, arguments.in_flight, arguments.seconds))
                    rounds[name].append(rate)
    _report(rounds, arguments)


def _report(rounds: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    print(f"Python {platform.python_version()}, grpc {grpc.__version__}, {sys.platform}")
    print(f"{usable_cores()} cores, {arguments.in_flight} in flight, {arguments.rounds} rounds")
    for name, figures in rounds.items():
        spread = f"{min(figures):.0f} to {max(figures):.0f}"
        print(f"{name:14s} {statistics.median(figures):7.0f} requests/s ({spread})")
    for one, other in (
        ("ours, unary", "echo, unary"),
        ("ours, stream", "echo, stream"),
        ("ours, stream", "ours, unary"),
    ):
        ratios = [a / b for a, b in zip(rounds[one], rounds[other], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{one} / {other}: {statistics.median(ratios):.2f} ({spread})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--echo", metavar="ADDRESS", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
