"""The compiled engines take over from TorchScript: really compiled, really served.

For single images only, so that there is but one library of each, and once: those that come later
find it in the cache.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from client import Client
from models.artifact import Artifact
from models.image_header import ImageLimits
from models.repository import ModelRepository
from server.catalog import takeover
from server.catalog.classification import ExplainWish
from server.catalog.servable import Servable
from server.catalog.takeover import CompileOptions, Outcome, TakeOvers
from server.pipeline import compiling, tuning
from server.pipeline.compile_cache import CompileCache
from server.pipeline.cores import Allotment
from server.pipeline.decode import DecodePool, EncodedImage
from server.pipeline.lanes import Lanes
from server.pipeline.torchscript import computes_int8
from server.telemetry.metrics import Metrics
from tests.engines import engine_options
from tests.integration.conftest import PHOTOS, ZOO, run_server

pytestmark = [
    pytest.mark.skipif(
        shutil.which(os.environ.get("CXX", "g++")) is None, reason="there is no C++ compiler"
    ),
    pytest.mark.timeout(400),
]
COMPILE_S = 300.0
FLAGS = ("--max-batch-size", "1", "--lanes", "2", "--threads-per-lane", "1", "--engine", "compiled")
OPTIONS = engine_options(
    precision="auto",
    max_batch_size=1,
    allotment=Allotment(lanes=2, threads_per_lane=1, decoders=1),
    lanes=Lanes(2),
)
CATS = [EncodedImage(path.read_bytes(), "image") for path in sorted(PHOTOS.glob("*.jpg"))]


def newest(model: str) -> Artifact:
    repository = ModelRepository(ZOO)
    return repository.read(model, repository.versions(model)[-1])


@asynccontextmanager
async def loaded(model: str = "cats-vs-dogs") -> AsyncIterator[tuple[Servable, Artifact, Metrics]]:
    artifact, metrics = newest(model), Metrics(CollectorRegistry())
    decoder = DecodePool(1, 64, ImageLimits())
    servable = await Servable.load(artifact, decoder, OPTIONS, metrics)
    try:
        yield servable, artifact, metrics
    finally:
        await servable.drain()
        decoder.close()


def takeovers(cache: Path, metrics: Metrics, **changes: object) -> TakeOvers:
    compiling = CompileOptions(
        CompileCache(cache), COMPILE_S, must_win=False, int8=False, niceness=0
    )
    return TakeOvers(replace(compiling, **changes), OPTIONS, metrics)


async def scores(servable: Servable) -> np.ndarray:
    answers = [await servable.classify(cat, 2, 0.0) for cat in CATS]
    return np.array(
        [sorted((one.index, one.score) for one in answer.predictions) for answer in answers]
    )[:, :, 1]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the model in it, compiled over a damaged entry of the same key."""
    folder = tmp_path_factory.mktemp("compiled") / "cache"
    asyncio.run(compile_over_damage(folder))
    return folder


async def compile_over_damage(folder: Path) -> None:
    store = CompileCache(folder)
    async with loaded() as (servable, artifact, metrics):
        target = await takeovers(folder, metrics).target(servable, artifact)
        with store.staging() as staged:
            (staged / "1.so").write_bytes(b"code")
            kept = store.keep(target.key(), {"1.so": staged / "1.so"})
        kept["1.so"].write_bytes(b"other code")
        assert await takeovers(folder, metrics).attempt(servable, artifact) is Outcome.TAKEN_OVER
        assert servable.engine.name == "compiled"
        if computes_int8():
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(takeover, "wins", lambda _gains: True)
                over = takeovers(folder, metrics)
                outcome = await over.attempt(servable, artifact, artifact.manifest.int8)
            assert outcome is Outcome.TAKEN_OVER


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be compiled: what works comes out of the cache."""
    monkeypatch.setenv("CXX", "no-such-compiler")


@pytest.mark.usefixtures("no_compiler")
async def test_it_takes_over_under_load_and_loses_no_request(cache: Path) -> None:
    async with loaded() as (servable, artifact, metrics):
        expected = await scores(servable)
        rounds = [0, 0, 0]
        over = asyncio.Event()

        async def caller(number: int) -> None:
            while not over.is_set():
                np.testing.assert_allclose(await scores(servable), expected, atol=0.05)
                rounds[number] += 1

        callers = [asyncio.create_task(caller(number)) for number in range(len(rounds))]
        while min(rounds) == 0:
            await servable.classify(CATS[0], 1, 0.0)
        assert await takeovers(cache, metrics).attempt(servable, artifact) is Outcome.TAKEN_OVER
        before = list(rounds)
        while any(now < then + 2 for now, then in zip(rounds, before, strict=True)):
            await servable.classify(CATS[0], 1, 0.0)
        over.set()
        await asyncio.gather(*callers)
        value = metrics.registry.get_sample_value
        model = {"model": "cats-vs-dogs", "version": str(artifact.manifest.version)}
        assert value("menagerie_engine_info", {**model, "engine": "compiled"}) == 1
        assert value("menagerie_engine_info", {**model, "engine": "torchscript"}) is None
        outcome = {**model, "engine": "compiled", "outcome": "taken_over"}
        assert value("menagerie_engine_takeovers_total", outcome) == 1


@pytest.mark.usefixtures("no_compiler")
async def test_maps_and_novelty_are_those_of_torchscript(cache: Path) -> None:
    async with loaded() as (servable, artifact, metrics):
        before = await servable.classify(CATS[0], 1, 0.0, explain=ExplainWish("cat"))
        assert await takeovers(cache, metrics).attempt(servable, artifact) is Outcome.TAKEN_OVER
        after = await servable.classify(CATS[0], 1, 0.0, explain=ExplainWish("cat"))
    assert before.explanation is not None
    assert after.explanation is not None
    np.testing.assert_allclose(after.explanation.map, before.explanation.map, atol=0.1)
    assert before.novelty is not None
    assert after.novelty is not None
    assert after.novelty.score == pytest.approx(before.novelty.score, abs=0.02)


async def stays(outcome: Outcome, servable: Servable, attempt: Outcome) -> None:
    assert attempt is outcome
    assert servable.engine.name == "torchscript"
    assert (await scores(servable)).shape[0] == len(CATS)


async def test_torchscript_stays_when_compiling_is_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with loaded() as (servable, artifact, metrics):
        empty = tmp_path / "empty"
        hasty = takeovers(empty, metrics, timeout_s=0.2)
        await stays(Outcome.TIMED_OUT, servable, await hasty.attempt(servable, artifact))
        monkeypatch.setenv("CXX", "false")  # a compiler that fails
        attempt = await takeovers(empty, metrics).attempt(servable, artifact)
        await stays(Outcome.FAILED, servable, attempt)
        monkeypatch.setenv("CXX", "no-such-compiler")
        attempt = await takeovers(empty, metrics).attempt(servable, artifact)
        await stays(Outcome.NO_COMPILER, servable, attempt)
        assert list(empty.iterdir()) == []
        tmp_path.chmod(0o777)  # noqa: ASYNC240 - nothing else runs
        attempt = await takeovers(empty, metrics).attempt(servable, artifact)
        await stays(Outcome.CACHE, servable, attempt)


@pytest.mark.usefixtures("no_compiler")
async def test_torchscript_stays_when_the_compiled_model_is_wrong_or_not_faster(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with loaded() as (servable, artifact, metrics):
        golden = artifact.manifest.golden.model_copy(update={"score_tolerance_bf16": 1e-12})
        golden = golden.model_copy(update={"score_tolerance_fp32": 1e-12})
        manifest = artifact.manifest.model_copy(update={"golden": golden})
        strict = replace(artifact, manifest=manifest)
        attempt = await takeovers(cache, metrics).attempt(servable, strict)
        await stays(Outcome.WRONG_SCORES, servable, attempt)
        monkeypatch.setattr(takeover, "wins", lambda _gains: False)
        attempt = await takeovers(cache, metrics, must_win=True).attempt(servable, artifact)
        await stays(Outcome.NOT_FASTER, servable, attempt)


async def test_torchscript_stays_without_a_twin(tmp_path: Path) -> None:
    async with loaded("tiny-animals") as (servable, artifact, metrics):
        outcome = await takeovers(tmp_path, metrics).attempt(servable, artifact)
        assert outcome is Outcome.NO_TWIN
        assert servable.engine.name == "torchscript"


needs_int8 = pytest.mark.skipif(not computes_int8(), reason="the processor has no VNNI")


@needs_int8
@pytest.mark.usefixtures("no_compiler")
async def test_int8_takes_over_from_the_compiled_engine(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "wins", lambda _gains: True)  # whatever runs beside the test
    async with loaded() as (servable, artifact, metrics):
        expected = await scores(servable)
        await takeovers(cache, metrics, int8=True).attempt_each(servable, artifact)
        assert servable.engine.name == "int8"
        np.testing.assert_allclose(await scores(servable), expected, atol=0.1)
        answer = await servable.classify(CATS[0], 1, 0.0, explain=ExplainWish("cat"))
        assert answer.predictions[0].label.id == "cat"
        assert answer.explanation is not None
        value = metrics.registry.get_sample_value
        model = {"model": "cats-vs-dogs", "version": str(artifact.manifest.version)}
        for engine in ("compiled", "int8"):
            outcome = {**model, "engine": engine, "outcome": "taken_over"}
            assert value("menagerie_engine_takeovers_total", outcome) == 1


@needs_int8
@pytest.mark.usefixtures("no_compiler")
async def test_int8_stays_away_unless_it_holds_wins_and_is_wanted(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with loaded() as (servable, artifact, metrics):
        int8 = artifact.manifest.int8
        assert int8 is not None
        strict = int8.model_copy(update={"score_tolerance": 1e-12})
        over = takeovers(cache, metrics, int8=True)
        # Its library is in the cache, whatever the tolerance.
        assert await over.attempt(servable, artifact, strict) is Outcome.WRONG_SCORES
        with monkeypatch.context() as patched:
            patched.setattr(takeover, "wins", lambda _gains: False)
            assert await over.attempt(servable, artifact, int8) is Outcome.NOT_FASTER
            patched.setattr(takeover, "computes_int8", lambda: False)
            assert await over.attempt(servable, artifact, int8) is Outcome.NO_VNNI
        assert servable.engine.name == "torchscript"
        await takeovers(cache, metrics).attempt_each(servable, artifact)
        assert servable.engine.name == "compiled"


@needs_int8
async def test_int8_needs_torchao(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "find_spec", lambda _name: None)
    async with loaded() as (servable, artifact, metrics):
        over = takeovers(tmp_path / "empty", metrics, int8=True)
        outcome = await over.attempt(servable, artifact, artifact.manifest.int8)
        await stays(Outcome.NO_TORCHAO, servable, outcome)


def test_a_server_says_which_engine_serves(cache: Path) -> None:
    with run_server(*FLAGS, "--compile-cache", str(cache)) as server, Client(server.grpc) as client:
        ends_at = time.monotonic() + 60
        while client.model("cats-vs-dogs").engine != "compiled":
            assert time.monotonic() < ends_at
        assert client.model("tiny-animals").engine == "torchscript"
        assert server.terminate() == 0


def test_a_server_that_stops_ends_its_compiler_at_once(tmp_path: Path) -> None:
    with run_server(*FLAGS, "--compile-cache", str(tmp_path / "cache")) as server:
        pid = server.process.pid
        ends_at = time.monotonic() + 60
        while not (compilers := children(pid)):
            assert time.monotonic() < ends_at
        assert server.terminate() == 0
        assert not any(Path(f"/proc/{compiler}").exists() for compiler in compilers)
    left = [path.name for path in (tmp_path / "cache").iterdir()]
    assert [name for name in left if not name.startswith(tuning.PREFIX)] == []


def children(pid: int) -> list[int]:
    """Of all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
