"""What goes wrong while traffic flows; each returns when all is well again."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.load.deployment import DAY_S, Deployment
from tests.load.surroundings import SmallDisks, WallClock
from tests.load.traffic import Session
from tests.load.watching import processes

_BREAK_S = 0.5  # how long a fault lasts
_DELAY_S = 0.03


@dataclass(frozen=True)
class Faults:
    """Faults of one deployment."""

    deployment: Deployment
    disks: SmallDisks
    clock: WallClock

    async def slow_network(self, _session: Session) -> None:
        """Everything arrives later; nothing is lost."""
        self.deployment.proxy.delay_s = _DELAY_S
        await asyncio.sleep(2 * _BREAK_S)
        self.deployment.proxy.delay_s = 0.0

    async def cut_network(self, session: Session) -> None:
        """All connections break, and new ones are refused for a while."""
        with session.ledger.fault():
            self.deployment.proxy.broken = True
            await self.deployment.proxy.cut()
            await asyncio.sleep(_BREAK_S)
            self.deployment.proxy.broken = False
            await self.deployment.serving(session.channels)

    async def stall(self, _session: Session) -> None:
        """The process that computes stands still: to it, its clock jumps. Nothing is lost."""
        parent = self.deployment.server.process.pid
        (pid,) = processes(parent, "engine") or [parent]
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(_BREAK_S)
        os.kill(pid, signal.SIGCONT)

    async def fill_log_disk(self, _session: Session) -> None:
        """There is no room where the server logs. Nothing is lost but lines."""
        pid = self.deployment.server.process.pid
        ballast = await asyncio.to_thread(self.disks.fill_log, pid)
        await asyncio.sleep(_BREAK_S)
        ballast.unlink()

    async def set_wall_clock(self, _session: Session) -> None:
        """The wall clock goes to tomorrow, to yesterday and back. Nothing is lost."""
        for days in (1, -1, 0):
            self.clock.set(days * DAY_S)
            await asyncio.sleep(_BREAK_S / 2)

    async def kill_front(self, session: Session) -> None:
        """SIGKILL one front."""
        await self._lose("front", session)

    async def kill_engine(self, session: Session) -> None:
        """SIGKILL the engine."""
        await self._lose("engine", session)

    async def restart(self, session: Session) -> None:
        """SIGTERM under load, and a successor."""
        with session.ledger.fault():
            await self.deployment.stop()
            await self.deployment.start()
            await self.deployment.serving(session.channels)

    async def _lose(self, role: str, session: Session) -> None:
        with session.ledger.fault():
            await self.deployment.kill(role)
            await asyncio.sleep(_BREAK_S)  # whoever was connected has heard of it
            await self.deployment.serving(session.channels)


def turns(
    fault: Callable[[Session], Awaitable[None]], times: int
) -> Callable[[Session], Awaitable[None]]:
    """The fault several times, with traffic in peace between."""

    async def several(session: Session) -> None:
        for _ in range(times):
            await fault(session)
            await asyncio.sleep(_BREAK_S)

    return several
