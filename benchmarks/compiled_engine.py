"""What compiling a model gives: ``python -m benchmarks.compiled_engine``.

One thread runs the same network as each engine could: TorchScript frozen, torch.compile with
inductor's freezing, AOTInductor with a library for each batch size, and with one for all of
them; all in bf16 where the server would use it. They run by turns; what counts is the ratio to
TorchScript in the same round, by the thread's own time, so that neighbours matter little.

Beside it stands what each takes to be made, and to be there again from its cache, what
compiling changes in the scores, and whether other threads of the process get their turns while
a batch runs. ``--folder`` keeps libraries for the next time.
"""

import argparse
import io
import json
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch._dynamo import reset as forget_compiled

from benchmarks.networks import torchvision_resnet
from benchmarks.processes import ROOT
from models import torchscript
from models.manifest import InputSpec
from models.repository import ModelRepository
from server.pipeline.lowering import ANY_SIZE, cast_body, compile_library, give_features
from server.pipeline.native import NativeModule
from server.pipeline.torchscript import computes_bf16
from trainer.export import assemble, export
from trainer.normalize import Normalize
from trainer.twin import export_twin

SIZES = (1, 8, 32)
NETWORKS = ("bundled", "resnet18", "resnet50")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_IMAGES_A_RUN = 16  # small batches run several times

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Network:
    """A network in both forms, and the side of its input in pixels."""

    scripted: torch.jit.ScriptModule
    twin: bytes
    side: int


@dataclass(frozen=True)
class Contender:
    """An engine: how to run it, seconds to make it, seconds to get it again from its cache."""

    forward: Forward
    made_s: float
    again_s: float


def bundled() -> Network:
    """The newest version of the bundled model."""
    zoo = ModelRepository(ROOT / "models" / "zoo")
    artifact = zoo.read("cats-vs-dogs", zoo.versions("cats-vs-dogs")[-1])
    if artifact.twin is None:
        raise SystemExit("the bundled model has no twin")
    return Network(artifact.module(), artifact.twin, artifact.manifest.input.height)


def resnet(name: str) -> Network:
    """torchvision's, at 224."""
    network = torchvision_resnet("resnet50" if name == "resnet50" else "resnet18")
    normalize = Normalize(_MEAN, _STD)
    spec = InputSpec(height=224, width=224, mean=_MEAN, std=_STD)
    return Network(export(normalize, network), export_twin(assemble(normalize, network), spec), 224)


def contenders(network: Network, dtype: torch.dtype, folder: Path) -> dict[str, Contender]:
    """Every engine, made and ready."""
    scripted = _scripted(network, dtype)
    images = torch.zeros(1, 3, network.side, network.side, dtype=torch.uint8)
    shape = tuple(scripted.forward(images)[0].shape[1:])
    return {
        "TorchScript": scripted,
        "torch.compile": _compiled(network, dtype, shape),
        "AOTInductor, by size": _ahead(network, dtype, shape, SIZES, folder),
        "AOTInductor, any size": _ahead(network, dtype, shape, (ANY_SIZE,), folder),
    }


def _scripted(network: Network, dtype: torch.dtype) -> Contender:
    began = time.perf_counter()
    module = torchscript.load(torchscript.save(network.scripted)).eval()
    module.body.to(dtype=dtype, memory_format=torch.channels_last)
    frozen = torchscript.freeze_both(module)
    return Contender(frozen.features_and_logits, time.perf_counter() - began, 0.0)


def _lowered(network: Network, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.fx.GraphModule:
    module = cast_body(torch.export.load(io.BytesIO(network.twin)), dtype)
    give_features(module, shape)
    return module


def _compiled(network: Network, dtype: torch.dtype, shape: tuple[int, ...]) -> Contender:
    made = []
    for _ in range(2):  # from scratch, then with inductor's caches
        forget_compiled()
        began = time.perf_counter()
        compiled = torch.compile(_lowered(network, dtype, shape), dynamic=False)
        # Not as an option of compile: dynamo reads it, too.
        with torch._inductor.config.patch(freezing=True):
            for size in SIZES:
                compiled(torch.zeros(size, 3, network.side, network.side, dtype=torch.uint8))
        made.append(time.perf_counter() - began)
    return Contender(compiled, *made)


def _ahead(
    network: Network,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    sizes: tuple[int, ...],
    folder: Path,
) -> Contender:
    began = time.perf_counter()
    for size in sizes:
        library = folder / f"{size}.so"
        if not library.exists():
            module = _lowered(network, dtype, shape)
            compile_library(module, network.side, network.side, size, 1, library)
    made_s = time.perf_counter() - began
    began = time.perf_counter()
    modules = {size: NativeModule(folder / f"{size}.so", 1) for size in sizes}
    for size in SIZES:
        images = torch.zeros(size, 3, network.side, network.side, dtype=torch.uint8)
        modules[size if size in modules else ANY_SIZE](images)
    again_s = time.perf_counter() - began
    return Contender(
        lambda images: modules[len(images) if len(images) in modules else ANY_SIZE](images),
        made_s,
        again_s,
    )


def race(
    engines: Mapping[str, Contender], side: int, rounds: int
) -> dict[str, dict[int, list[float]]]:
    """Images a second of each engine by batch size, one figure a round."""
    random = torch.Generator().manual_seed(0)
    batches = {
        size: torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=random)
        for size in SIZES
    }
    rates: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in SIZES} for name in engines
    }
    for turn in range(rounds + 1):
        for size, images in batches.items():
            for name, engine in engines.items():
                rate = _rate(engine.forward, images)
                if turn > 0:  # the first warms up
                    rates[name][size].append(rate)
    return rates


def _rate(forward: Forward, images: Tensor) -> float:
    runs = max(1, _IMAGES_A_RUN // len(images))
    forward(images)
    began = time.thread_time()
    for _ in range(runs):
        forward(images)
    return runs * len(images) / (time.thread_time() - began)


def others_go_on(forward: Forward, side: int) -> float:
    """How often another thread got a turn while batches ran, over how often when nothing did."""
    images = torch.zeros(SIZES[-1], 3, side, side, dtype=torch.uint8)
    turns, over = 0, threading.Event()

    def count() -> None:
        nonlocal turns
        while not over.wait(0.001):
            turns += 1

    def rate(work: Callable[[], object]) -> float:
        began, before = time.perf_counter(), turns
        work()
        return (turns - before) / (time.perf_counter() - began)

    counter = threading.Thread(target=count)
    counter.start()
    idle = rate(lambda: time.sleep(0.5))
    busy = rate(lambda: [forward(images) for _ in range(5)])
    over.set()
    counter.join()
    return busy / idle


def main() -> None:
    """Race the engines of each network; print medians, spreads and ratios."""
    arguments = _arguments()
    torch.set_num_threads(1)
    dtype = torch.bfloat16 if computes_bf16(torch.device("cpu")) else torch.float32
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {platform.machine()} {capability}, {dtype}, 1 thread")
    results = {}
    for name in arguments.network or NETWORKS:
        network = bundled() if name == "bundled" else resnet(name)
        with tempfile.TemporaryDirectory() as passing, torch.no_grad():
            folder = (arguments.folder or Path(passing)) / name
            folder.mkdir(parents=True, exist_ok=True)
            engines = contenders(network, dtype, folder)
            rates = race(engines, network.side, arguments.rounds)
            results[name] = _report(name, engines, rates, network.side)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def _report(
    name: str,
    engines: Mapping[str, Contender],
    rates: Mapping[str, Mapping[int, list[float]]],
    side: int,
) -> dict[str, object]:
    images = torch.randint(0, 256, (8, 3, side, side), dtype=torch.uint8)
    expected = torch.softmax(engines["TorchScript"].forward(images)[1].float(), dim=1)
    print(f"\n{name}, {side} x {side}; images a second (over TorchScript, least to most)")
    for engine, contender in engines.items():
        cells = []
        for size in SIZES:
            pairs = zip(rates[engine][size], rates["TorchScript"][size], strict=True)
            ratios = [one / other for one, other in pairs]
            cells.append(
                f"{size}: {statistics.median(rates[engine][size]):5.0f}"
                f" ({statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f})"
            )
        scores = torch.softmax(contender.forward(images)[1].float(), dim=1)
        off = float((scores - expected).abs().max())
        print(
            f"  {engine:22s} {'  '.join(cells)}  made in {contender.made_s:.0f} s, again in"
            f" {contender.again_s:.2f} s, scores off by {off:.1e}, other threads"
            f" {others_go_on(contender.forward, side):.2f}"
        )
    return {
        engine: {"images_per_s": rates[engine], "made_s": one.made_s, "again_s": one.again_s}
        for engine, one in engines.items()
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where libraries stay; default: nowhere")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
