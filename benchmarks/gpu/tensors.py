"""Raw pixels over streams, as fast as they are answered: ``python -m benchmarks.gpu.tensors``.

One process, one stream. Prints a line of JSON: answers, seconds, and the mean microseconds of each
step that the answers tell.
"""

import argparse
import asyncio
import json
import sys
import time

import grpc

from proto.classify.v1 import classify_pb2

_STREAM = "/classify.v1.ClassifyService/ClassifyStream"
_STEPS = ("decode_us", "queue_us", "engine_us", "total_us", "batch_size")
_WARM_UP_S = 2.0


async def flood(
    address: str, side: int, window: int, seconds: float, warm_up_s: float = _WARM_UP_S
) -> dict[str, float]:
    """Keep ``window`` images of ``side`` pixels on their way for so many seconds."""
    raw = classify_pb2.RawImage(height=side, width=side, data=bytes(3 * side * side))
    item = classify_pb2.ClassifyRequest(request_id="1", image=classify_pb2.Image(raw=raw))
    request = classify_pb2.ClassifyStreamRequest(request=item).SerializeToString()
    sums = dict.fromkeys(_STEPS, 0.0)
    answered = refused = 0
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(
            _STREAM, response_deserializer=classify_pb2.ClassifyStreamResponse.FromString
        )(wait_for_ready=True)
        for _ in range(window):
            await call.write(request)
        began = time.perf_counter() + warm_up_s
        while (now := time.perf_counter()) < began + seconds:
            response = await call.read()
            if not isinstance(response, classify_pb2.ClassifyStreamResponse):
                raise SystemExit("the server ended the stream")
            await call.write(request)
            if now < began:
                continue
            if response.result.HasField("response"):
                answered += 1
                timings = response.result.response.timings
                for step in _STEPS:
                    sums[step] += getattr(timings, step)
            else:
                refused += 1
        call.cancel()
    means = {step: total / max(1, answered) for step, total in sums.items()}
    return {"answered": answered, "refused": refused, "seconds": seconds, **means}


def main() -> None:
    """Flood, then print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    found = asyncio.run(flood(options.address, options.side, options.window, options.seconds))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
