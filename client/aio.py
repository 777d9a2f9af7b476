"""The asyncio client: the same calls as ``client.sdk.Client``."""

from collections.abc import AsyncGenerator
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import grpc

from client.address import server_address
from client.aio_stream import AsyncImageStream, AsyncItems, async_image_bytes
from client.channel import channel_options
from client.health import OVERALL, AsyncHealthCalls, HealthStatus
from client.images import ImageSource
from client.messages import Priority, Query, classification, model_info, model_spec, with_image
from client.results import Classification, ModelInfo, Outcome
from client.sdk import DEFAULT_TIMEOUT_S
from client.status import from_rpc_error
from client.streaming import DEFAULT_WINDOW, StreamPlan
from proto.classify.v1 import classify_pb2, classify_pb2_grpc, model_pb2, model_pb2_grpc

K = TypeVar("K")
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class AsyncClient:
    """A connection to a Menagerie server, to be used as an asynchronous context manager.

    Belongs to the event loop in which it is made. Arguments, results and errors are those of
    ``client.sdk.Client``; files are read in threads.
    """

    def __init__(
        self, address: str | None = None, *, timeout_s: float | None = DEFAULT_TIMEOUT_S
    ) -> None:
        """Prepare a connection.

        Args:
            address: HOST:PORT. None: $MENAGERIE_SERVER, else 127.0.0.1:50051.
            timeout_s: How long a call may take, in seconds, unless it says otherwise. None:
                as long as it takes.

        Raises:
            AddressError: The address is not HOST:PORT.
        """
        self.address = server_address(address)
        self.timeout_s = timeout_s
        self._channel = grpc.aio.insecure_channel(self.address, channel_options(self.address))
        self._classify = classify_pb2_grpc.ClassifyServiceStub(self._channel)
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._health = AsyncHealthCalls(self._channel, self.address)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; calls under way are cancelled."""
        await self._channel.close(None)

    async def classify(
        self,
        image: ImageSource,
        *,
        model: str = "",
        version: str = "",
        label: str = "",
        top_k: int | None = None,
        min_score: float | None = None,
        priority: Priority = "normal",
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> Classification:
        """Classify one image; see ``Client.classify``.

        Raises:
            ImageFileError: The image cannot be read or is too large.
            ServerUnavailableError: No server was reached.
            ClassifyError: The server refused or failed the request.
        """
        template = Query(model, version, label, top_k, min_score, priority).request()
        request = with_image(template, await async_image_bytes(image), request_id)
        return await self._classify_request(request, timeout_s)

    def classify_many(
        self,
        images: AsyncItems[K],
        *,
        model: str = "",
        version: str = "",
        label: str = "",
        top_k: int | None = None,
        min_score: float | None = None,
        priority: Priority = "normal",
        timeout_s: float | None = None,
        window: int = DEFAULT_WINDOW,
        ordered: bool = False,
    ) -> AsyncGenerator[Outcome[K], None]:
        """Classify many images over one stream; see ``Client.classify_many``.

        `images` may be asynchronous; if it is not, taking the next item must not block. A
        caller that stops early closes the generator (``contextlib.aclosing``).

        Raises:
            ServerUnavailableError: No server was reached, or the connection broke.
            DeadlineExceededError: The server answered nothing for `timeout_s`.
            ClassifyError: The stream as a whole failed. Items under way have no outcome.
        """
        plan = StreamPlan(
            template=Query(model, version, label, top_k, min_score, priority).request(),
            address=self.address,
            window=window,
            ordered=ordered,
            timeout_s=self._timeout_s(timeout_s),
        )
        stream: AsyncImageStream[K] = AsyncImageStream(
            plan, partial(self._classify.ClassifyStream, None), self._classify_request
        )
        return stream.outcomes(images)

    async def models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Return every model version that the server knows, in whatever state.

        Raises:
            ClassifyError: The call failed.
        """
        request = model_pb2.ListModelsRequest()
        response = await self._call(self._models.ListModels, request, timeout_s)
        return [model_info(model) for model in response.models]

    async def model(
        self,
        name: str = "",
        *,
        version: str = "",
        label: str = "",
        timeout_s: float | None = None,
    ) -> ModelInfo:
        """Return one model version; without arguments the one that answers by default.

        Raises:
            NotFoundError: The server has no such model, version or label.
            ClassifyError: The call failed.
        """
        request = model_pb2.GetModelRequest()
        if name or version or label:
            request.model.CopyFrom(model_spec(name, version, label))
        return model_info((await self._call(self._models.GetModel, request, timeout_s)).model)

    async def health(
        self, service: str = OVERALL, *, timeout_s: float | None = None
    ) -> HealthStatus:
        """Return whether a service takes requests; SERVICE_UNKNOWN if there is none such.

        Raises:
            ServerUnavailableError: No server was reached.
            ClassifyError: The call failed.
        """
        return await self._health.check(service, self._timeout_s(timeout_s))

    async def wait_until_serving(self, service: str = OVERALL, *, timeout_s: float) -> None:
        """Wait until the server is up and `service` takes requests, at most `timeout_s` seconds.

        Raises:
            DeadlineExceededError: It did not.
            ClassifyError: The call failed for a reason that waiting does not cure.
        """
        await self._health.wait_until_serving(service, timeout_s)

    async def _classify_request(
        self, request: classify_pb2.ClassifyRequest, timeout_s: float | None
    ) -> Classification:
        return classification(await self._call(self._classify.Classify, request, timeout_s))

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        timeout_s: float | None,
    ) -> ResponseT:
        timeout_s = self._timeout_s(timeout_s)
        try:
            return await method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.address, timeout_s) from error

    def _timeout_s(self, timeout_s: float | None) -> float | None:
        return self.timeout_s if timeout_s is None else timeout_s
