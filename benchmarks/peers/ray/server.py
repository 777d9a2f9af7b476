"""Ray Serve: a replica for each worker, @serve.batch within it; photos as the body of a POST."""

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import ray
from classifier import MAX_BATCH, MAX_DELAY_S, NAMES, WORKERS, Classifier, decode
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Served:
    """Decodes and classifies whole batches in a thread, so that the loop goes on receiving."""

    def __init__(self, model: int) -> None:
        self.classifier = Classifier(model)
        self.lane = ThreadPoolExecutor(1)

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=MAX_DELAY_S)
    async def classify(self, photos: list[bytes]) -> list[dict]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.lane, self._classify, photos)

    def _classify(self, photos: list[bytes]) -> list[dict]:
        answers = self.classifier.classify(
            [decode(photo, self.classifier.side) for photo in photos]
        )
        return [{"predictions": answer} for answer in answers]

    async def __call__(self, request: Request) -> dict:
        return await self.classify(await request.body())


if __name__ == "__main__":
    ray.init(num_cpus=WORKERS * len(NAMES), include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    for model, name in enumerate(NAMES):
        serve.run(Served.bind(model), name=name, route_prefix=f"/{name}" if model else "/")
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
