"""Compiles a twin in a process of its own: ``python -m server.pipeline.compiler``.

Reads a :class:`Job` as a line of JSON from stdin, then the twin; writes a library for each
size into the job's folder and runs each once: should one crash, it is this process that
ends. It gives way to others, and ends when whoever started it closes its stdin or dies.
"""

import hashlib
import importlib
import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import fx

from models.exported import open_twin
from models.int8 import REVISION, quantised
from models.manifest import CHANNELS
from server.pipeline.lowering import cast_body, compile_library, give_features
from server.pipeline.native import NativeModule

_SIZES = (1, 2, 4, 8)  # an image takes no less in larger ones


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
        sizes: Of batches, each with a library of its own.
        int8: Where its layers' inputs lie: each one's weight, the least and the largest value;
            empty: it is computed in ``dtype``.
    """

    digest: str
    height: int
    width: int
    dtype: str
    threads: int
    features: tuple[int, ...]
    sizes: tuple[int, ...]
    int8: tuple[tuple[str, float, float], ...] = ()

    def key(self) -> str:
        """Names the target on this kind of processor with this torch."""
        capabilities = torch.cpu.get_capabilities()
        facts = {
            **asdict(self),
            "torch": torch.__version__,
            "debug": torch.version.debug,
            "git": torch.version.git_version,
            "int8": _int8_facts() if self.int8 else None,
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


def _int8_facts() -> dict[str, object]:
    made_by = version("torchao") if find_spec("torchao") else None
    return {"torchao": made_by, "revision": REVISION}


def library_sizes(max_batch_size: int) -> tuple[int, ...]:
    """The sizes that are compiled: powers of two, of which every batch is put together.

    A library for any size would have its weights laid out anew for every batch.
    """
    return tuple(size for size in _SIZES if size <= max_batch_size)


def library_name(size: int) -> str:
    """The file for batches of ``size``."""
    return f"{size}.so"


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
    module = _module_of(target, open_twin(twin))
    give_features(module, target.features)
    for size in target.sizes:
        library = folder / library_name(size)
        compile_library(module, target.height, target.width, size, target.threads, library)
        images = torch.zeros(size, CHANNELS, target.height, target.width, dtype=torch.uint8)
        NativeModule(library, runners=1)(images)


def _module_of(target: Target, program: torch.export.ExportedProgram) -> fx.GraphModule:
    if not target.int8:
        return cast_body(program, getattr(torch, target.dtype))
    # Has inductor turn quantised layers into oneDNN's integer kernels; torch itself once did.
    importlib.import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    return quantised(program, {name: (low, high) for name, low, high in target.int8})


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1):  # past its buffer, whose lock would hold up an exit
        pass
    os.killpg(0, signal.SIGKILL)  # with the C++ compiler that may be at work


if __name__ == "__main__":
    main()
