"""The health protocol (grpc.health.v1), blocking and asyncio: ask once, or wait until SERVING."""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum

import grpc
from grpc_health.v1 import health_pb2

from client.errors import DeadlineExceededError
from client.status import from_rpc_error

# What a Menagerie server answers for; "" is the server as a whole.
OVERALL = ""
SERVICES = (
    "classify.v1.ClassifyService",
    "classify.v1.FeedbackService",
    "classify.v1.ModelService",
    "inference.GRPCInferenceService",
)

# The reason of the error when waiting was in vain.
NOT_SERVING = "NOT_SERVING"

_CHECK = "/grpc.health.v1.Health/Check"
_WATCH = "/grpc.health.v1.Health/Watch"
_REQUEST = health_pb2.HealthCheckRequest.SerializeToString
_RESPONSE = health_pb2.HealthCheckResponse.FromString
# Between two watches of a server that went away or is not yet there.
_REWATCH_S = 0.2
_WORTH_WAITING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class HealthStatus(StrEnum):
    """Whether a service takes requests."""

    UNKNOWN = "UNKNOWN"
    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    SERVICE_UNKNOWN = "SERVICE_UNKNOWN"


_BY_NUMBER: dict[int, HealthStatus] = {
    health_pb2.HealthCheckResponse.SERVING: HealthStatus.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: HealthStatus.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN: HealthStatus.SERVICE_UNKNOWN,
}


class HealthCalls:
    """The health calls of a blocking channel to `address`."""

    def __init__(self, channel: grpc.Channel, address: str) -> None:
        self._address = address
        self._check: grpc.UnaryUnaryMultiCallable[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ] = channel.unary_unary(_CHECK, _REQUEST, _RESPONSE)
        self._watch: grpc.UnaryStreamMultiCallable[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ] = channel.unary_stream(_WATCH, _REQUEST, _RESPONSE)

    def check(self, service: str, timeout_s: float | None) -> HealthStatus:
        """Return the status of `service` now; see ``Client.health``."""
        try:
            response = self._check(health_pb2.HealthCheckRequest(service=service), timeout_s)
        except grpc.RpcError as error:
            return _status_of_failure(error, self._address, timeout_s)
        return _status(response)

    def wait_until_serving(self, service: str, timeout_s: float) -> None:
        """Wait until `service` is SERVING; see ``Client.wait_until_serving``."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self._is_seen_serving(service, left_s):
                return
            time.sleep(_pause_s(deadline_s))
        raise _not_serving(self._address, timeout_s)

    def _is_seen_serving(self, service: str, timeout_s: float) -> bool:
        """Watch until the service is SERVING (True) or the server goes away (False)."""
        request = health_pb2.HealthCheckRequest(service=service)
        call = self._watch(request, timeout_s, wait_for_ready=True)
        cancel: Callable[[], object] = call.cancel
        try:
            return any(_status(seen) is HealthStatus.SERVING for seen in call)
        except grpc.RpcError as error:
            return _raise_unless_worth_waiting(error, self._address, timeout_s)
        finally:
            cancel()


class AsyncHealthCalls:
    """The health calls of an asyncio channel to `address`."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self._address = address
        self._check: grpc.aio.UnaryUnaryMultiCallable[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ] = channel.unary_unary(_CHECK, _REQUEST, _RESPONSE)
        self._watch: grpc.aio.UnaryStreamMultiCallable[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ] = channel.unary_stream(_WATCH, _REQUEST, _RESPONSE)

    async def check(self, service: str, timeout_s: float | None) -> HealthStatus:
        """Return the status of `service` now; see ``Client.health``."""
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            response = await self._check(request, timeout=timeout_s)
        except grpc.RpcError as error:
            return _status_of_failure(error, self._address, timeout_s)
        return _status(response)

    async def wait_until_serving(self, service: str, timeout_s: float) -> None:
        """Wait until `service` is SERVING; see ``Client.wait_until_serving``."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if await self._is_seen_serving(service, left_s):
                return
            await asyncio.sleep(_pause_s(deadline_s))
        raise _not_serving(self._address, timeout_s)

    async def _is_seen_serving(self, service: str, timeout_s: float) -> bool:
        """Watch until the service is SERVING (True) or the server goes away (False)."""
        request = health_pb2.HealthCheckRequest(service=service)
        call = self._watch(request, timeout=timeout_s, wait_for_ready=True)
        try:
            async for seen in call:
                if _status(seen) is HealthStatus.SERVING:
                    return True
        except grpc.RpcError as error:
            return _raise_unless_worth_waiting(error, self._address, timeout_s)
        finally:
            call.cancel()
        return False


def _status(response: health_pb2.HealthCheckResponse) -> HealthStatus:
    return _BY_NUMBER.get(response.status, HealthStatus.UNKNOWN)


def _status_of_failure(error: grpc.RpcError, address: str, timeout_s: float | None) -> HealthStatus:
    """Return what a failed Check says of the service, or raise if it says nothing."""
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return HealthStatus.SERVICE_UNKNOWN
    raise from_rpc_error(error, address, timeout_s) from error


def _raise_unless_worth_waiting(error: grpc.RpcError, address: str, timeout_s: float) -> bool:
    if error.code() in _WORTH_WAITING:
        return False
    raise from_rpc_error(error, address, timeout_s) from error


def _pause_s(deadline_s: float) -> float:
    return max(0.0, min(_REWATCH_S, deadline_s - time.monotonic()))


def _not_serving(address: str, timeout_s: float) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"{address} is not serving after {round(timeout_s, 2):g} s", reason=NOT_SERVING
    )
