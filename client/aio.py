"""The asyncio client: the same calls as ``client.sdk.Client``."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import grpc

from client.address import server_address
from client.aio_stream import AsyncImageStream, AsyncItems, async_image_content, each
from client.channel import channel_options
from client.credentials import Credentials
from client.health import OVERALL, AsyncHealthCalls, HealthStatus
from client.images import ImageSource
from client.messages import (
    CamMethod,
    Priority,
    Quality,
    Query,
    classification,
    explain_request,
    feedback_request,
    get_answer_request,
    model_info,
    model_spec,
    with_image,
)
from client.places import AsyncPlaces
from client.reconnect import async_surviving
from client.results import Classification, ModelInfo, Outcome
from client.retry import RetryThrottle
from client.sdk import DEFAULT_TIMEOUT_S
from client.status import from_rpc_error, no_answer
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
        self,
        address: str | None = None,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        credentials: Credentials | None = None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        """Prepare a connection.

        Args:
            address: HOST:PORT. None: $MENAGERIE_SERVER, else 127.0.0.1:50051.
            timeout_s: How long a call may take, in seconds, unless it says otherwise. None:
                as long as it takes.
            credentials: TLS and token. None, or what is left out: from the environment, else
                neither.
            interceptors: gRPC's own client interceptors (``grpc.aio.UnaryUnaryClientInterceptor``
                and its kin): each sees every call, the first of them first; retries are below.

        Raises:
            AddressError: The address is not HOST:PORT.
            CredentialsError: A certificate or key cannot be used.
        """
        self.address = server_address(address)
        self.timeout_s = timeout_s
        self._throttle = RetryThrottle()
        self._places = AsyncPlaces()
        self._credentials = (credentials or Credentials()).resolved()
        self._channel = open_channel(self.address, self._credentials, (), interceptors)
        self._classify = classify_pb2_grpc.ClassifyServiceStub(self._channel)
        self._feedback = classify_pb2_grpc.FeedbackServiceStub(self._channel)
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
        coverage: float | None = None,
        may_keep_image: bool = False,
        quality: Quality = "once",
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
        template = Query(
            model, version, label, top_k, min_score, priority, coverage, may_keep_image, quality
        ).request()
        request = with_image(template, await async_image_content(image), request_id)
        return await self._classify_request(request, timeout_s)

    async def explain(
        self,
        image: ImageSource,
        *,
        label_id: str = "",
        method: CamMethod = "grad_cam",
        overlay: bool = False,
        model: str = "",
        version: str = "",
        label: str = "",
        priority: Priority = "normal",
        timeout_s: float | None = None,
    ) -> Classification:
        """Classify one image and say which parts of it speak for a label; see ``Client.explain``.

        Raises:
            ImageFileError: The image cannot be read or is too large.
            ServerUnavailableError: No server was reached.
            ClassifyError: The server refused or failed the request.
        """
        query = Query(model, version, label, priority=priority)
        data = await async_image_content(image)
        request = explain_request(query, data, label_id, method, overlay=overlay)
        answer = await self._call(self._classify.Explain, request, timeout_s)
        return classification(answer.response)

    async def feedback(
        self, request_id: str, label_id: str, *, comment: str = "", timeout_s: float | None = None
    ) -> bool:
        """Say what an image that was classified really shows.

        Args:
            request_id: Of the answer.
            label_id: The id of the right label; it need not be one of the model's.
            comment: Anything else, at most 1000 characters.
            timeout_s: In seconds. None: the client's.

        Returns:
            Whether the answer's best label was the right one.

        Raises:
            NotFoundError: The server no longer remembers the answer.
            ClassifyError: The server refused or failed the call.
        """
        request = feedback_request(request_id, label_id, comment)
        return (await self._call(self._feedback.Feedback, request, timeout_s)).correct

    async def answer(self, request_id: str, *, timeout_s: float | None = None) -> Classification:
        """Return an answer of before again, without its explanation.

        Raises:
            NotFoundError: The server no longer remembers it.
            ClassifyError: The server refused or failed the call.
        """
        request = get_answer_request(request_id)
        found = await self._call(self._feedback.GetAnswer, request, timeout_s)
        return classification(found.response)

    def classify_many(
        self,
        images: AsyncItems[K],
        *,
        model: str = "",
        version: str = "",
        label: str = "",
        top_k: int | None = None,
        min_score: float | None = None,
        coverage: float | None = None,
        may_keep_image: bool = False,
        quality: Quality = "once",
        priority: Priority = "normal",
        timeout_s: float | None = None,
        window: int = DEFAULT_WINDOW,
        ordered: bool = False,
        reconnect_s: float = 0.0,
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
            template=Query(
                model, version, label, top_k, min_score, priority, coverage, may_keep_image, quality
            ).request(),
            address=self.address,
            window=window,
            ordered=ordered,
            timeout_s=self._timeout_s(timeout_s),
            throttle=self._throttle,
        )
        if reconnect_s <= 0:
            return self._stream(plan, images)
        wait = partial(self.wait_until_serving, timeout_s=reconnect_s)
        return async_surviving(each(images), partial(self._stream, plan), wait)

    def _stream(self, plan: StreamPlan, images: AsyncItems[K]) -> AsyncGenerator[Outcome[K], None]:
        stream: AsyncImageStream[K] = AsyncImageStream(
            plan,
            partial(self._classify.ClassifyStream, None, metadata=self._credentials.metadata()),
            self._classify_request,
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
            async with self._places.taken(timeout_s) as left_s:
                metadata = self._credentials.metadata()
                return await method(request, timeout=left_s, metadata=metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.address, timeout_s) from error
        except TimeoutError:
            raise no_answer(self.address, timeout_s) from None

    def _timeout_s(self, timeout_s: float | None) -> float | None:
        return self.timeout_s if timeout_s is None else timeout_s


def open_channel(
    address: str,
    credentials: Credentials,
    more: Sequence[tuple[str, str | int]] = (),
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Return a channel to a server at `address`, with `more` options than every client has.

    Raises:
        CredentialsError: A certificate or key cannot be used.
    """
    options = [*channel_options(address), *more]
    secrets = credentials.channel_credentials(address)
    if secrets is None:
        return grpc.aio.insecure_channel(address, options, interceptors=interceptors)
    return grpc.aio.secure_channel(address, secrets, options, interceptors=interceptors)
