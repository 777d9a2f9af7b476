"""From a twin to compiled libraries: out of the cache, or from a compiler process."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from server.pipeline.compile_cache import CacheError, CompileCache, DamagedEntryError
from server.pipeline.compiler import Job, Target, library_name

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]  # where the compiler process finds this package
LOWEST_PRIORITY = 19  # as a niceness
_LAST_WORDS = 2000  # characters of a compiler's complaints


class CompileFailure(StrEnum):
    """Why there are no libraries."""

    NO_COMPILER = "no_compiler"
    NO_TORCHAO = "no_torchao"
    CACHE = "cache"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class CompileError(Exception):
    """There are no libraries.

    Attributes:
        reason: Why, in a word.
    """

    def __init__(self, reason: CompileFailure, message: str) -> None:
        super().__init__(message)
        self.reason = reason


async def libraries_of(
    target: Target,
    twin: bytes,
    cache: CompileCache,
    timeout_s: float,
    niceness: int = LOWEST_PRIORITY,
) -> dict[str, Path]:
    """The verified libraries for ``target``, by file name, compiled where the cache has none.

    Cancelling it ends the compiler at once.

    Args:
        target: What is compiled, for what.
        twin: The artifact's verified twin.
        cache: Where libraries are kept.
        timeout_s: Longest compilation, in seconds.
        niceness: How far the compiler gives way to others.

    Raises:
        CompileError: There are none; the reason says why.
    """
    key = target.key()
    try:
        found = await asyncio.to_thread(_find, cache, key)
        if found is not None:
            return found
        _require_compiler()
        if target.int8:
            _require_torchao()
        with cache.staging() as folder:
            names = await _compile(target, twin, folder, timeout_s, niceness)
            files = {name: folder / name for name in names}
            return await asyncio.to_thread(cache.keep, key, files)
    except (CacheError, DamagedEntryError) as error:
        raise CompileError(CompileFailure.CACHE, str(error)) from error


def _find(cache: CompileCache, key: str) -> dict[str, Path] | None:
    try:
        return cache.find(key)
    except DamagedEntryError as error:
        log.warning("a compiled model was damaged and is compiled again: %s", error)
        return None


def _require_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise CompileError(CompileFailure.NO_COMPILER, f"there is no C++ compiler: {compiler}")


def _require_torchao() -> None:
    if find_spec("torchao") is None:
        message = 'int8 needs torchao: pip install "menagerie[int8]"'
        raise CompileError(CompileFailure.NO_TORCHAO, message)


async def _compile(
    target: Target, twin: bytes, folder: Path, timeout_s: float, niceness: int
) -> list[str]:
    job = Job(folder=folder, twin_bytes=len(twin), niceness=niceness, target=target)
    try:
        async with asyncio.timeout(timeout_s), _compiler(folder) as process:
            code, complaints = await _converse(process, job.model_dump_json().encode(), twin)
    except TimeoutError:
        message = f"the compiler took longer than {timeout_s:g} s"
        raise CompileError(CompileFailure.TIMED_OUT, message) from None
    if code != 0:
        log.warning("the compiler failed", extra={"fields": {"stderr": complaints[-_LAST_WORDS:]}})
        last = complaints.strip().rpartition("\n")[2]
        message = f"the compiler ended with {code}: {last}"
        raise CompileError(CompileFailure.FAILED, message)
    return [library_name(size) for size in target.sizes]


@asynccontextmanager
async def _compiler(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A compiler process, gone after the block with all that it started."""
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        # Not the folder in /tmp that inductor shares between users.
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TMPDIR": str(folder),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server.pipeline.compiler",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _converse(
    process: asyncio.subprocess.Process, job: bytes, twin: bytes
) -> tuple[int, str]:
    """Give the job; wait for the end. Gives the exit code and what was said on stderr."""
    if process.stdin is None or process.stderr is None:
        raise RuntimeError("the compiler was started without pipes")
    with contextlib.suppress(ConnectionError):  # it ended early: its exit code says more
        process.stdin.write(job + b"\n" + twin)
        await process.stdin.drain()
    complaints = (await process.stderr.read()).decode(errors="replace")
    return await process.wait(), complaints
