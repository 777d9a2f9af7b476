"""A server that dies and comes back, behind a network that breaks; and what it wrote down.

The request log is the server's own ledger, by id; its counters have to agree with it, and both
with the client's.
"""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from urllib.error import URLError

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.processes import free_address
from tests.integration.conftest import Server, run_server
from tests.load.ledger import Ledger
from tests.load.proxy import Proxy
from tests.load.watching import counted, processes

# How a request ended for certain: what the client was told is what the server did.
CERTAIN = ("OK", "INVALID_ARGUMENT", "INTERNAL")
DAY_S = 86_400
_LOOK_S = 0.02
_SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass
class Life:
    """One life of the process that counts.

    Attributes:
        ended_by: What ended it.
        counts: Requests that it counted, by code; None if it was killed before it could tell.
        log: Codes by request id, as it logged them.
        dropped: Lines that it could not log, and lines that broke off.
        misdated: Lines with a time that is hours from when it was started.
    """

    ended_by: str = ""
    counts: Counter[str] | None = None
    log: dict[str, str] = field(default_factory=dict)
    dropped: int = 0
    misdated: int = 0


@dataclass
class Deployment:
    """A server behind a proxy. Belongs to one event loop.

    Attributes:
        flags: Of the server.
        fronts: How many processes take calls.
        proxy: In front of it.
        prefix: What starts it, before its command.
        lives: Of the process that counts, so far.
    """

    flags: Sequence[str]
    fronts: int
    proxy: Proxy
    prefix: Sequence[str] = ()
    lives: list[Life] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _server: Server | None = None
    _begun: int = 0  # lives when the server of now was started

    @property
    def server(self) -> Server:
        assert self._server is not None
        return self._server

    async def __aenter__(self) -> "Deployment":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        # A server that a failed run has left would keep this process waiting for its log.
        await asyncio.to_thread(self._stack.close)

    async def start(self) -> None:
        """Start the server."""
        # One port for all lives of an engine, which starts anew at port 0 with another.
        port = free_address().rpartition(":")[2]
        command = (*self.flags, "--fronts", str(self.fronts), "--metrics-port", port)
        context = run_server(*command, forked=False, prefix=self.prefix)
        self._server = await asyncio.to_thread(self._stack.enter_context, context)
        self.proxy.target = self.server.grpc
        self._begun = len(self.lives)
        self.lives.append(Life())

    async def stop(self) -> None:
        """SIGTERM, also in the middle of everything, and take in its counters and log."""
        self.lives[-1].ended_by = "SIGTERM"
        self.server.process.send_signal(signal.SIGTERM)
        with suppress(
            URLError, ConnectionError, HTTPException
        ):  # until it has told all that it will
            while True:
                self.lives[-1].counts = await self.counts()
                await asyncio.sleep(_LOOK_S)
        assert await asyncio.to_thread(self.server.process.wait, 120) == 0
        log = await asyncio.to_thread(self.server.log.result, 120)
        self._read(log)
        await asyncio.to_thread(self._stack.close)

    async def counts(self) -> Counter[str]:
        """What it has counted so far."""
        return await asyncio.to_thread(counted, self.server.metrics)

    async def kill(self, role: str) -> None:
        """SIGKILL one of the processes of a role and wait for its successor."""
        pids = processes(self.server.process.pid, role)
        if role == "engine":
            self.lives[-1].ended_by = "SIGKILL"
            self.lives.append(Life())
        os.kill(pids[0], signal.SIGKILL)
        while not self._has_successor(pids, role):  # noqa: ASYNC110 - there is no event of it
            await asyncio.sleep(_LOOK_S)

    async def serving(self, channels: Sequence[grpc.aio.Channel]) -> None:
        """Return when the server takes requests on each of these connections."""
        for channel in channels:
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=120)
            async for update in watch:
                if update.status == _SERVING:
                    watch.cancel()
                    break

    def _has_successor(self, pids: Sequence[int], role: str) -> bool:
        now = processes(self.server.process.pid, role)
        return pids[0] not in now and len(now) == len(pids)

    def _read(self, log: str) -> None:
        """Give each of the server's lives what was logged in it."""
        records = list(_records(log))
        lives = self.lives[self._begun :]
        births = sum(record["message"] == "model ready" for record in records)
        # The log begins where the server was ready: the first birth is often before that.
        coming = iter(lives if births == len(lives) else lives[1:])
        life = lives[0]
        for record in records:
            if record["message"] == "model ready":
                life = next(coming)
            life.dropped += int(record.get("dropped", 0))
            life.misdated += _is_misdated(record["time"])
            if record["message"] in ("request", "slow request"):
                request_id = record["request_id"]
                assert request_id not in life.log, f"{request_id} was answered twice"
                life.log[request_id] = record["code"]


def _records(log: str) -> Iterator[dict[str, str]]:
    for line in log.splitlines():
        with suppress(json.JSONDecodeError):  # who is killed may leave half a line
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def _is_misdated(time: str) -> bool:
    return abs(datetime.fromisoformat(time) - datetime.now(UTC)) > timedelta(seconds=DAY_S / 2)


def reconcile(ledger: Ledger, lives: Sequence[Life]) -> dict[str, int]:
    """Match the client's ledger with the server's log and its counters, id by id.

    Returns:
        How many ids there are, how many the server has logged, and how many that were answered
        it could not log, before it was killed or while its disk was full.

    Raises:
        AssertionError: They disagree.
    """
    logged: dict[str, str] = {}
    for life in lives:
        assert logged.keys().isdisjoint(life.log), "an id was answered by two servers"
        logged |= life.log
        if life.counts is not None:
            told = Counter(life.log.values())
            untold = {code: life.counts[code] - told[code] for code in CERTAIN}
            assert min(untold.values()) >= 0, (life.counts, told)
            assert sum(untold.values()) <= life.dropped, (life.counts, told, life.dropped)
    unlogged = []
    for request_id, end in ledger.ends.items():
        if end not in CERTAIN:
            continue
        if request_id not in logged:
            unlogged.append(request_id)
        else:
            assert logged[request_id] == end, f"{request_id}: {logged[request_id]}, told {end}"
    assert logged.keys() <= ledger.ends.keys(), "the server answered what nobody asked"
    if not any(life.ended_by == "SIGKILL" for life in lives):
        dropped = sum(life.dropped for life in lives)
        assert len(unlogged) <= dropped, f"{len(unlogged)} answers are not in the server's log"
    return {"ids": len(ledger.ends), "logged": len(logged), "unlogged": len(unlogged)}
