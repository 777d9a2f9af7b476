"""What no server can exceed here: ``python -m benchmarks.limits REPOSITORY MODEL PHOTOS``.

Decode and model without any server (a thread for each core, each with whole batches), the engine
alone, and the decoder alone. Prints a JSON object: for each a rate, photos a second, and the cost,
milliseconds of processor time for a photo; and what one photo alone takes ("single_ms"), one at
once after the other, and with a rest of 2 ms in between ("rested_ms"), as a server has while the
answer goes out and the next photo comes in.
``--compiled FOLDER`` takes the compiled engine, with libraries kept there.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from models.artifact import Artifact
from models.image_header import ImageLimits
from models.manifest import Int8
from models.preprocess import preprocess
from models.repository import ModelRepository
from server.heaps import hold_heaps
from server.pipeline.compile_cache import CompileCache
from server.pipeline.compiled import CompiledEngine
from server.pipeline.compiler import Target, library_sizes
from server.pipeline.compiling import libraries_of
from server.pipeline.cores import usable_cores
from server.pipeline.engine import Work
from server.pipeline.torchscript import TorchScriptEngine

_COMPILE_S = 900.0
_SINGLES = 40
_REST_S = 0.002


def compiled(
    artifact: Artifact, scripted: TorchScriptEngine, cache: Path, batch: int, int8: Int8 | None
) -> CompiledEngine:
    """Return the engine that takes over in the server, from the same libraries."""
    if artifact.twin is None:
        raise SystemExit("the artifact has no twin")
    spec = artifact.manifest.input
    image = torch.zeros(1, 3, spec.height, spec.width, dtype=torch.uint8)
    target = Target(
        digest=artifact.digest,
        height=spec.height,
        width=spec.width,
        dtype=str(scripted.dtype).removeprefix("torch."),
        threads=1,
        features=tuple(scripted.features_and_logits(image)[0].shape[1:]),
        sizes=library_sizes(batch),
        int8=tuple((name, *ends) for name, ends in int8.ranges.items()) if int8 else (),
    )
    libraries = libraries_of(target, artifact.twin, CompileCache(cache), _COMPILE_S)
    return CompiledEngine(artifact, asyncio.run(libraries), usable_cores(), scripted, int8)


class Bare:
    """The server's own decoder and engine, without the server."""

    def __init__(
        self,
        artifact: Artifact,
        photos: list[bytes],
        batch: int,
        cache: Path | None,
        int8: Int8 | None,
    ) -> None:
        self._photos = photos
        self._spec = artifact.manifest.input
        scripted = TorchScriptEngine(artifact, torch.device("cpu"), "auto")
        self._engine = compiled(artifact, scripted, cache, batch, int8) if cache else scripted
        self._batch = batch
        self._images = [Work(self._decoded(number), 5) for number in range(batch)]
        self.dtype = str(scripted.dtype).removeprefix("torch.")

    def warm_up(self) -> None:
        """Make the calling thread fast: TorchScript is from the third run on."""
        torch.set_num_threads(1)
        for images in (self._images, self._images[:1]):
            for _ in range(4):
                self._engine.run(images)

    def single_ms(self, rest_s: float = 0.0) -> float:
        """Decode and run one photo after the other; return what the middle one took."""
        took = []
        for number in range(_SINGLES):
            time.sleep(rest_s)
            began = time.perf_counter()
            self._engine.run([Work(self._decoded(number), 5)])
            took.append(time.perf_counter() - began)
        return round(1000 * statistics.median(took), 2)

    def offline(self, number: int) -> int:
        """Decode a batch and run it; return its size."""
        start = number * self._batch
        images = [Work(self._decoded(start + index), 5) for index in range(self._batch)]
        self._engine.run(images)
        return self._batch

    def engine(self, _number: int) -> int:
        """Run a batch that is decoded already; return its size."""
        self._engine.run(self._images)
        return self._batch

    def decode(self, number: int) -> int:
        """Decode a photo; return 1."""
        self._decoded(number)
        return 1

    def _decoded(self, number: int) -> torch.Tensor:
        return preprocess(self._photos[number % len(self._photos)], self._spec, ImageLimits())


def measure(step: Callable[[int], int], pool: ThreadPoolExecutor, seconds: float) -> dict:
    """Repeat ``step`` on every core at once; return rate and cost."""
    began, computed = time.perf_counter(), time.process_time()

    def one_core(offset: int) -> int:
        done, number = 0, offset * 1_000_003
        while time.perf_counter() - began < seconds:
            done += step(number)
            number += 1
        return done

    done = sum(pool.map(one_core, range(usable_cores())))
    elapsed = time.perf_counter() - began
    cost = time.process_time() - computed
    return {"per_s": round(done / elapsed, 2), "cpu_ms": round(1000 * cost / done, 3)}


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    hold_heaps()  # as the server does
    torch.set_num_threads(1)
    photos = [path.read_bytes() for path in sorted(arguments.photos.glob("*.jpg"))]
    repository = ModelRepository(arguments.repository)
    newest = repository.versions(arguments.model)[-1]
    artifact = repository.read(arguments.model, newest)
    int8 = artifact.manifest.int8 if arguments.int8 else None
    bare = Bare(artifact, photos, arguments.batch, arguments.compiled, int8)
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(lambda _: bare.warm_up(), range(usable_cores())))
        found = {
            name: measure(step, pool, arguments.seconds)
            for name, step in (
                ("offline", bare.offline),
                ("engine", bare.engine),
                ("decode", bare.decode),
            )
        }
        found["single_ms"] = pool.submit(bare.single_ms).result()
        found["rested_ms"] = pool.submit(bare.single_ms, _REST_S).result()
    print(json.dumps(found | {"dtype": bare.dtype, "cores": usable_cores()}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("model")
    parser.add_argument("photos", type=Path, help="a folder of .jpg files")
    parser.add_argument("--compiled", type=Path, metavar="FOLDER", help="cache of libraries")
    parser.add_argument("--int8", action="store_true", help="of those in int8")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
