"""The compiled engine takes over from TorchScript, in the background, once it has proven itself;
and after it the one in int8, where the artifact offers that.

Versions come to their turn one after another. Whatever goes wrong, the engine that serves goes on.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from enum import StrEnum

from models.artifact import Artifact
from models.errors import ModelsError
from models.manifest import Int8
from server.catalog.options import EngineOptions
from server.catalog.servable import Servable
from server.errors import EngineError
from server.pipeline.compile_cache import CompileCache
from server.pipeline.compiler import Target, library_sizes
from server.pipeline.compiling import LOWEST_PRIORITY, CompileError, libraries_of
from server.pipeline.lane_engine import EngineName
from server.pipeline.race import wins
from server.pipeline.torchscript import computes_int8
from server.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of an attempt. Those of the compiler bear `CompileFailure`'s words."""

    TAKEN_OVER = "taken_over"
    NOT_ON_CPU = "not_on_cpu"
    NO_TWIN = "no_twin"
    NO_COMPILER = "no_compiler"
    NO_TORCHAO = "no_torchao"
    NO_VNNI = "no_vnni"
    CACHE = "cache"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    WRONG_SCORES = "wrong_scores"
    NOT_FASTER = "not_faster"
    UNLOADED = "unloaded"


class StayError(Exception):
    """The engine that serves stays.

    Attributes:
        outcome: Why, in a word.
    """

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class CompileOptions:
    """How twins are compiled.

    Attributes:
        cache: Where libraries are kept.
        timeout_s: Longest compilation, in seconds.
        must_win: Whether an engine takes over only if it is measured to be faster.
        int8: Whether one in int8 may take over after it, where an artifact offers that.
        niceness: How far the compiler gives way to others.
    """

    cache: CompileCache
    timeout_s: float
    must_win: bool
    int8: bool
    niceness: int = LOWEST_PRIORITY


class TakeOvers:
    """Compiles the twins of the versions that were added and lets the results take over.

    Args:
        compile_options: How twins are compiled.
        engine_options: How engines run.
        metrics: The server's metrics.
    """

    def __init__(
        self, compile_options: CompileOptions, engine_options: EngineOptions, metrics: Metrics
    ) -> None:
        self._compile = compile_options
        self._engine = engine_options
        self._metrics = metrics
        self._waiting: dict[Servable, Artifact] = {}
        self._added = asyncio.Event()

    def add(self, servable: Servable, artifact: Artifact) -> None:
        """Let a version wait for its turn."""
        self._waiting[servable] = artifact
        self._added.set()

    def forget(self, servable: Servable) -> None:
        """Hold a version no longer that is being unloaded."""
        self._waiting.pop(servable, None)

    async def run(self) -> None:
        """Work through what was and will be added; cancelling ends a compiler at once."""
        while True:
            await self._added.wait()
            if self._waiting:
                await self.attempt_each(*self._next())
            else:
                self._added.clear()

    def _next(self) -> tuple[Servable, Artifact]:
        servable = next(iter(self._waiting))
        return servable, self._waiting.pop(servable)

    async def attempt_each(self, servable: Servable, artifact: Artifact) -> None:
        """Let one version's compiled engine take over, and then the one in int8 if that may."""
        outcome = await self.attempt(servable, artifact)
        int8 = artifact.manifest.int8
        wanted = int8 is not None and self._compile.int8 and not servable.drained
        if wanted and outcome in _COMPILED:
            await self.attempt(servable, artifact, int8)

    async def attempt(
        self, servable: Servable, artifact: Artifact, int8: Int8 | None = None
    ) -> Outcome:
        """Let one version's compiled engine take over, or say why not.

        Args:
            servable: The version.
            artifact: Its own.
            int8: What the artifact says of it; given: the engine is to compute in int8.
        """
        model, version = artifact.manifest.name, str(artifact.manifest.version)
        engine = _name(int8)
        fields: dict[str, object] = {"model": model, "version": version, "engine": engine}
        began = time.monotonic()
        try:
            gains = await self._take_over(servable, artifact, int8)
            outcome = Outcome.TAKEN_OVER
            fields["speedup"] = {str(size): round(gain, 2) for size, gain in gains.items()}
            log.info("the compiled engine took over", extra={"fields": {**fields, **_took(began)}})
        except StayError as error:
            outcome = error.outcome
            reason = {"reason": outcome, "detail": str(error)}
            level = logging.INFO if outcome in _EXPECTED else logging.WARNING
            fields |= {**reason, **_took(began)}
            log.log(level, _STAYS, servable.engine.name, extra={"fields": fields})
        except Exception:
            outcome = Outcome.UNLOADED if servable.drained else Outcome.FAILED
            if not servable.drained:
                log.exception(_STAYS, servable.engine.name, extra={"fields": fields})
        self._metrics.engine_takeovers.labels(model, version, engine, outcome).inc()
        return outcome

    async def target(
        self, servable: Servable, artifact: Artifact, int8: Int8 | None = None
    ) -> Target:
        """What is compiled."""
        spec = artifact.manifest.input
        return Target(
            digest=artifact.digest,
            height=spec.height,
            width=spec.width,
            dtype=servable.dtype,
            threads=self._engine.allotment.threads_per_lane,
            features=await servable.engine.feature_shape(),
            sizes=library_sizes(self._engine.max_batch_size),
            int8=tuple((name, *ends) for name, ends in int8.ranges.items()) if int8 else (),
        )

    async def _take_over(
        self, servable: Servable, artifact: Artifact, int8: Int8 | None
    ) -> dict[int, float]:
        if self._engine.device.type != "cpu":
            raise StayError(Outcome.NOT_ON_CPU, f"the device is {self._engine.device}")
        if artifact.twin is None:
            raise StayError(Outcome.NO_TWIN, "the artifact has no model.pt2")
        if int8 is not None and not computes_int8():
            raise StayError(Outcome.NO_VNNI, "the processor has neither VNNI nor AMX")
        target = await self.target(servable, artifact, int8)
        try:
            libraries = await libraries_of(
                target,
                artifact.twin,
                self._compile.cache,
                self._compile.timeout_s,
                self._compile.niceness,
            )
        except CompileError as error:
            raise StayError(Outcome(error.reason), str(error)) from error
        try:
            engine = await servable.engine.prepare_compiled(artifact, libraries, int8)
        except (ModelsError, EngineError) as error:
            raise StayError(Outcome.WRONG_SCORES, str(error)) from error
        gains = await servable.engine.race(engine)
        if (self._compile.must_win or int8 is not None) and not wins(gains):
            shown = ", ".join(f"{gain:.2f} at {size}" for size, gain in gains.items())
            raise StayError(Outcome.NOT_FASTER, f"speed over {servable.engine.name}'s: {shown}")
        if servable.drained:
            raise StayError(Outcome.UNLOADED, "the version was unloaded meanwhile")
        servable.take_over(engine, gains, _name(int8))
        return gains


_STAYS = "%s goes on serving"  # an engine
# There is a compiler, and what it made was tried.
_COMPILED = {Outcome.TAKEN_OVER, Outcome.NOT_FASTER, Outcome.WRONG_SCORES}
_EXPECTED = {
    Outcome.NO_TWIN,
    Outcome.NO_COMPILER,
    Outcome.NO_TORCHAO,
    Outcome.NO_VNNI,
    Outcome.NOT_ON_CPU,
    Outcome.NOT_FASTER,
    Outcome.UNLOADED,
}


def _name(int8: Int8 | None) -> EngineName:
    return "compiled" if int8 is None else "int8"


def _took(began: float) -> dict[str, float]:
    return {"after_s": round(time.monotonic() - began, 3)}
