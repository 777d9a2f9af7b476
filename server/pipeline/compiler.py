"""Compiles a twin in a process of its own: ``python -m server.pipeline.compiler``.

Reads a :class:`Job` as a line of JSON from stdin, then the twin; writes a library for each
size into the job's folder and runs each once: should one crash, it is this process that
ends. It gives way to others, and ends when whoever started it closes its stdin or dies.
"""

import hashlib
import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from models.exported import open_twin
from models.manifest import CHANNELS
from server.pipeline.lowering import ANY_SIZE, cast_body, compile_library, give_features
from server.pipeline.native import NativeModule


@dataclass(frozen=True)
class Target:
    """What is compiled, for what: libraries are good for an equal one alone.

    Attributes:
        digest: Of the artifact's manifest, which holds the twin's.
        height: Of the input, pixels.
        width: Of the input, pixels.
        dtype: Of the body, as torch names it.
        threads: Of one operation.
        features: Shape of one image's last feature map, [c, h', w'].
        sizes: Of batches, each with a library of its own; `ANY_SIZE` for the rest.
    """

    digest: str
    height: int
    width: int
    dtype: str
    threads: int
    features: tuple[int, ...]
    sizes: tuple[int, ...]

    def key(self) -> str:
        """Names the target on this kind of processor with this torch."""
        capabilities = torch.cpu.get_capabilities()
        facts = {
            **asdict(self),
            "torch": torch.__version__,
            "debug": torch.version.debug,
            "git": torch.version.git_version,
            "cpu": {name: str(value) for name, value in capabilities.items() if "num_" not in name},
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Job(BaseModel):
    """What the process is told.

    Attributes:
        folder: Where libraries go.
        twin_bytes: Length of the twin, which follows.
        niceness: How far it gives way to others.
        target: What to compile.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    twin_bytes: int
    niceness: int
    target: Target


def library_name(size: int) -> str:
    """The file for batches of ``size``."""
    return "any.so" if size == ANY_SIZE else f"{size}.so"


def main() -> None:
    """Do the job on stdin."""
    job = Job.model_validate_json(sys.stdin.buffer.readline())
    os.nice(job.niceness)
    twin = sys.stdin.buffer.read(job.twin_bytes)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    compile_target(job.target, twin, job.folder)


def compile_target(target: Target, twin: bytes, folder: Path) -> None:
    """Write a library for each size into ``folder``, and run it once."""
    torch.set_num_threads(target.threads)
    module = cast_body(open_twin(twin), getattr(torch, target.dtype))
    give_features(module, target.features)
    for size in target.sizes:
        library = folder / library_name(size)
        compile_library(module, target.height, target.width, size, target.threads, library)
        for batch in (size,) if size else (1, 2, 3):
            images = torch.zeros(batch, CHANNELS, target.height, target.width, dtype=torch.uint8)
            NativeModule(library, runners=1)(images)


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1):  # past its buffer, whose lock would hold up an exit
        pass
    os.killpg(0, signal.SIGKILL)  # with the C++ compiler that may be at work


if __name__ == "__main__":
    main()
