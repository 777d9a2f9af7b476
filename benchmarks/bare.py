"""The least that can answer: torch, a model loaded and warmed, nothing else.

    python -m benchmarks.bare REPOSITORY MODEL LANES THREADS MAX_BATCH_SIZE

Says "ready" on stdout and waits until stdin is closed.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from models.repository import ModelRepository
from server.pipeline.torchscript import TorchScriptEngine
from server.pipeline.warm_up import MEASURING_RUNS


def main() -> None:
    """Load, warm up on each lane, wait."""
    root, name = Path(sys.argv[1]), sys.argv[2]
    lanes, threads, size = map(int, sys.argv[3:])
    artifact = ModelRepository(root).read(name, 1)
    with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        engine = pool.submit(TorchScriptEngine, artifact, torch.device("cpu"), "auto").result()
        list(pool.map(lambda _: engine.warm_up(range(1, size + 1), MEASURING_RUNS), range(lanes)))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
