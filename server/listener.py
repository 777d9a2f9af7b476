"""A process's gRPC listener: what it serves, and the order in which it ends."""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import asyncio
import logging
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.doors import credentials_of, door
from server.rpc import classify, feedback, health, models, oip
from server.rpc.answers import Answers
from server.rpc.boundary import Boundary
from server.rpc.transport import ConnectionLimits, server_options
from server.settings import Settings
from server.start import StartError

log = logging.getLogger(__name__)

SERVICES = (classify.SERVICE, models.SERVICE, feedback.SERVICE, oip.SERVICE)


class Listener:
    """Takes calls on the serving port. Healthy once told so.

    Args:
        settings: The operator's.
        answers: Where answers come from.
        others: The handlers of the other services.
        port: To listen on; 0: a free one.
        reuse_port: Whether several processes share the port.

    Raises:
        StartError: The port is taken.
        SettingsError: Settings contradict each other, or a file they name is no good.
    """

    def __init__(
        self,
        settings: Settings,
        answers: Answers,
        others: grpc.GenericRpcHandler[bytes, Message],
        *,
        port: int,
        reuse_port: bool = False,
    ) -> None:
        self._settings = settings
        self._boundary = Boundary(door(settings))
        self._draining = asyncio.Event()
        self._server = grpc.aio.server(
            interceptors=(self._boundary,), options=options_of(settings, reuse_port=reuse_port)
        )
        classifier = classify.ClassifyServicer(
            answers, settings.max_batch_items, settings.stream_window, self._draining
        )
        self.health = health.HealthServicer(SERVICES)
        infer = oip.InferServicer(answers, settings.max_batch_items)
        self._server.add_generic_rpc_handlers((classifier.handlers(), infer.handlers(), others))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        if settings.reflection:
            names = (*SERVICES, health.SERVICE, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        wanted = f"{settings.host}:{port}"
        bound = bind(self._server, wanted, credentials_of(settings), "port")
        self.address = f"{settings.host}:{bound}"

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new."""
        return self._draining.is_set()

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def drain(self, answer_accepted: Callable[[], Awaitable[None]]) -> None:
        """Stop in this order, so that no accepted call is lost.

        Say NOT_SERVING, serve on until load balancers have noticed, take nothing new, answer
        what was accepted. Connections close last: gRPC cancels calls that reach a stopping
        server before a handler has them, so for a moment handlers refuse them with UNAVAILABLE
        instead.

        Args:
            answer_accepted: Refuses new requests, and returns when the accepted are answered.
        """
        loop = asyncio.get_running_loop()
        await self.health.close()
        await asyncio.sleep(self._settings.shutdown_delay_s)
        ends_at = loop.time() + self._settings.grace_period_s
        self._draining.set()
        try:
            async with asyncio.timeout_at(ends_at):
                await answer_accepted()
                await asyncio.sleep(self._settings.lame_duck_s)
        except TimeoutError:
            log.warning(
                "the grace period ended before all accepted requests were answered",
                extra={"fields": {"calls": self._boundary.calls}},
            )
            await self._boundary.expire()
        await self._server.stop(max(0.0, ends_at - loop.time()))


def bind(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None, setting: str
) -> int:
    """The port that ``server`` will listen on; without credentials in clear text.

    Raises:
        StartError: ``address`` is taken; the message names the ``setting``.
    """
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise StartError(
            f"{setting}: cannot listen on {address}; is another server there?"
        ) from error


def options_of(settings: Settings, *, reuse_port: bool = False) -> list[tuple[str, int]]:
    """gRPC's options for a listener."""
    limits = ConnectionLimits(
        max_message_bytes=settings.max_message_bytes,
        max_metadata_bytes=settings.max_metadata_bytes,
        max_connections=settings.max_connections,
        max_calls=settings.max_calls_per_connection,
        max_age_s=settings.max_connection_age_s,
        keepalive_s=settings.keepalive_s,
    )
    # Two servers on one port would share its calls silently; fronts are to.
    return [("grpc.so_reuseport", int(reuse_port)), *server_options(limits)]
