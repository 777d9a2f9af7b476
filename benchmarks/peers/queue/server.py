"""A queue in front of a model on grpc.aio: what anyone writes in an afternoon."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from classifier import MAX_BATCH, MAX_DELAY_S, WORKERS, Classifier, decode
from raw_grpc import OPTIONS, handlers


class Queue:
    """Collects decoded photos until a batch is full or its first has waited long enough."""

    def __init__(self) -> None:
        self._classifier = Classifier()
        self._waiting: asyncio.Queue = asyncio.Queue()
        self._decoders = ThreadPoolExecutor(WORKERS)
        self._lanes = ThreadPoolExecutor(WORKERS)

    async def classify(self, photo: bytes, _context: object) -> bytes:
        loop = asyncio.get_running_loop()
        image, answer = (
            await loop.run_in_executor(self._decoders, decode, photo),
            loop.create_future(),
        )
        self._waiting.put_nowait((image, answer))
        return repr(await answer).encode()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            late = loop.time() + MAX_DELAY_S
            while len(batch) < MAX_BATCH:
                try:
                    async with asyncio.timeout_at(late):
                        batch.append(await self._waiting.get())
                except TimeoutError:
                    break
            images, answers = zip(*batch, strict=True)
            results = await loop.run_in_executor(self._lanes, self._classifier.classify, images)
            for answer, result in zip(answers, results, strict=True):
                if not answer.done():
                    answer.set_result(result)


async def main() -> None:
    """Serve until SIGTERM, with a collector for each lane."""
    queue = Queue()
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((handlers(queue.classify),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await asyncio.gather(*(queue.run() for _ in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main())
