"""Compiles a twin in a process of its own: ``python -m server.pipeline.compiler``.

Reads a :class:`Job` as a line of JSON from stdin, then the twin; writes a library for each
size into the job's folder and runs each once: should one crash, it is this process that
ends. It gives way to others, and ends when whoever started it closes its stdin or dies.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from models.exported import open_twin
from models.manifest import CHANNELS
from server.pipeline.lowering import ANY_SIZE, cast_body, compile_library, give_features
from server.pipeline.native import NativeModule


class Job(BaseModel):
    """What to compile.

    Attributes:
        folder: Where libraries go.
        twin_bytes: Length of the twin, which follows.
        niceness: How far it gives way to others.
        height: Of the input, pixels.
        width: Of the input, pixels.
        dtype: Of the body, as torch names it.
        threads: Of one operation.
        features: Shape of one image's last feature map, [c, h', w'].
        sizes: Of batches, each with a library of its own; `ANY_SIZE` for the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    twin_bytes: int
    niceness: int
    height: int
    width: int
    dtype: str
    threads: int
    features: tuple[int, ...]
    sizes: tuple[int, ...]


def library_name(size: int) -> str:
    """The file for batches of ``size``."""
    return "any.so" if size == ANY_SIZE else f"{size}.so"


def main() -> None:
    """Do the job on stdin."""
    job = Job.model_validate_json(sys.stdin.buffer.readline())
    os.nice(job.niceness)
    twin = sys.stdin.buffer.read(job.twin_bytes)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    torch.set_num_threads(job.threads)
    module = cast_body(open_twin(twin), getattr(torch, job.dtype))
    give_features(module, job.features)
    for size in job.sizes:
        library = job.folder / library_name(size)
        compile_library(module, job.height, job.width, size, job.threads, library)
        for batch in (size,) if size else (1, 2, 3):
            images = torch.zeros(batch, CHANNELS, job.height, job.width, dtype=torch.uint8)
            NativeModule(library, runners=1)(images)


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1):  # past its buffer, whose lock would hold up an exit
        pass
    os.killpg(0, signal.SIGKILL)  # with the C++ compiler that may be at work


if __name__ == "__main__":
    main()
