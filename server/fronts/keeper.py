"""Keep a process running: start it, know when it is ready, start it again when it dies.

The process says that it is ready with a line of JSON on its stdout, and ends when its stdin
does: so none is left when the one that keeps it is killed.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import suppress

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class NeverReadyError(Exception):
    """A process ended before it was ready for the first time.

    Attributes:
        code: Its exit code.
    """

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended with exit code {code} before it was ready")
        self.code = code


class Keeper:
    """Keeps one process running until told to stop.

    Args:
        name: For logs.
        command: What to start.

    Attributes:
        ready: What it said when it was ready for the first time.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.ready: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int | None:
        """The process's, while there is one."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Keep the process running.

        Raises:
            NeverReadyError: It ended before it was ready for the first time.
        """
        pause_s = _FIRST_PAUSE_S
        while not self._has_to_stop():
            was_ready, code = await self._live()
            if self._has_to_stop():
                return
            if not self.ready.done():
                raise NeverReadyError(self._name, code)
            log.error("%s died with exit code %d and is started again", self._name, code)
            pause_s = _FIRST_PAUSE_S if was_ready else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    def stop(self) -> None:
        """Ask the process to end; `run` returns when it has."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def _has_to_stop(self) -> bool:  # a call, because it may have changed during any wait
        return self._stopping

    async def _live(self) -> tuple[bool, int]:
        """One life of the process: whether it was ready, and its exit code."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=pipe,
            stdout=pipe,
            start_new_session=True,  # Ctrl-C is for the keeper: it knows the order of ending
        )
        self._process = process
        if self._has_to_stop():  # asked while it was being started
            process.terminate()
        was_ready = False
        assert process.stdout is not None  # noqa: S101 - asked for above
        async for line in process.stdout:
            was_ready = True
            if not self.ready.done():
                self.ready.set_result(json.loads(line))
        return was_ready, await process.wait()
