"""The blocking client. Safe to share between threads."""

from collections.abc import Generator, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import grpc

from client.address import server_address
from client.channel import channel_options
from client.credentials import Credentials
from client.health import OVERALL, HealthCalls, HealthStatus
from client.images import ImageSource, image_content
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
from client.places import Places
from client.reconnect import surviving
from client.results import Classification, ModelInfo, Outcome
from client.retry import RetryThrottle
from client.status import from_rpc_error, no_answer
from client.stream import ImageStream
from client.streaming import DEFAULT_WINDOW, StreamPlan
from proto.classify.v1 import classify_pb2, classify_pb2_grpc, model_pb2, model_pb2_grpc

DEFAULT_TIMEOUT_S = 10.0

K = TypeVar("K")
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class Client:
    """A connection to a Menagerie server, to be used as a context manager.

    The connection is made with the first call. Calls of one request are retried while the
    server is UNAVAILABLE: four attempts, within the timeout.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        credentials: Credentials | None = None,
        interceptors: Sequence["grpc.Interceptor"] = (),
    ) -> None:
        """Prepare a connection.

        Args:
            address: HOST:PORT. None: $MENAGERIE_SERVER, else 127.0.0.1:50051.
            timeout_s: How long a call may take, in seconds, unless it says otherwise. None:
                as long as it takes.
            credentials: TLS and token. None, or what is left out: from the environment, else
                neither.
            interceptors: gRPC's own client interceptors (``grpc.UnaryUnaryClientInterceptor`` and
                its kin): each sees every call, the first of them first; retries are below them.

        Raises:
            AddressError: The address is not HOST:PORT.
            CredentialsError: A certificate or key cannot be used.
        """
        self.address = server_address(address)
        self.timeout_s = timeout_s
        self._throttle = RetryThrottle()
        self._places = Places()
        self._credentials = (credentials or Credentials()).resolved()
        self._channel = _channel(self.address, self._credentials, interceptors)
        self._classify = classify_pb2_grpc.ClassifyServiceStub(self._channel)
        self._feedback = classify_pb2_grpc.FeedbackServiceStub(self._channel)
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._health = HealthCalls(self._channel, self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls under way fail with CallCancelledError."""
        self._channel.close()

    def classify(
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
        """Classify one image.

        Args:
            image: Encoded JPEG, PNG or WebP bytes, the path of such a file, a Pillow image, or a
                numpy array of uint8 [height, width, 3], RGB.
            model: Empty: the server's default model.
            version: A version number. Empty: the model's default version.
            label: A version label, instead of a version.
            top_k: How many labels to return, best first, 1 to 1000. None: the server's default.
            min_score: Leaves out labels below it, 0 to 1. None: none.
            coverage: Asks for a set of labels that holds the true one with this probability, one
                of those that the model offers, such as 0.9. None: no set.
            may_keep_image: Allows the server to keep the image to learn from.
            quality: "flip" looks twice, at the mirror image, too; "crops" four times, at the
                middle as well. Each look costs what a request costs.
            priority: The more urgent are served first; "bulk" whenever there is room.
            timeout_s: In seconds. None: the client's.
            request_id: Printable ASCII, for the server's logs. Empty: the server makes one.

        Raises:
            ImageFileError: The image cannot be read or is too large.
            ServerUnavailableError: No server was reached.
            ClassifyError: The server refused or failed the request.
        """
        template = Query(
            model, version, label, top_k, min_score, priority, coverage, may_keep_image, quality
        ).request()
        request = with_image(template, image_content(image), request_id)
        return self._classify_request(request, timeout_s)

    def explain(
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
        """Classify one image and say which parts of it speak for a label.

        Args:
            image: As for ``classify``, and so are the other choices of what and how.
            label_id: Of the label to explain. Empty: the best one.
            method: Grad-CAM, or Grad-CAM++, which covers several objects more evenly.
            overlay: Whether to return the image coloured by the map, too, as a PNG file.
            model: See ``classify``.
            version: See ``classify``.
            label: See ``classify``.
            priority: See ``classify``.
            timeout_s: See ``classify``.

        Returns:
            The answer; its ``explanation`` is set.

        Raises:
            ImageFileError: The image cannot be read or is too large.
            ServerUnavailableError: No server was reached.
            ClassifyError: The server refused or failed the request.
        """
        query = Query(model, version, label, priority=priority)
        request = explain_request(query, image_content(image), label_id, method, overlay=overlay)
        answer = self._call(self._classify.Explain, request, timeout_s)
        return classification(answer.response)

    def feedback(
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
        return (self._call(self._feedback.Feedback, request, timeout_s)).correct

    def answer(self, request_id: str, *, timeout_s: float | None = None) -> Classification:
        """Return an answer of before again, without its explanation.

        Raises:
            NotFoundError: The server no longer remembers it.
            ClassifyError: The server refused or failed the call.
        """
        request = get_answer_request(request_id)
        found = self._call(self._feedback.GetAnswer, request, timeout_s)
        return classification(found.response)

    def classify_many(
        self,
        images: Iterable[tuple[K, ImageSource]],
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
    ) -> Generator[Outcome[K], None, None]:
        """Classify many images over one stream, in constant memory.

        A bad item has an outcome with an error and the stream goes on. An item for which the
        server has no room is sent once more after the delay that the server asks for.

        Args:
            images: Pairs of a key and an image, taken one by one, in a background thread, no
                further ahead than `window`. What it raises is raised here.
            model: As for ``classify``, and so are the other choices of what and how.
            version: See ``classify``.
            label: See ``classify``.
            top_k: See ``classify``.
            min_score: See ``classify``.
            coverage: See ``classify``.
            may_keep_image: See ``classify``.
            quality: See ``classify``.
            priority: See ``classify``.
            timeout_s: How long an item may wait for its answer, in seconds. None: the client's.
            window: How many items may be under way at once, at least 1.
            ordered: Yield outcomes in the order of `images` instead of as they arrive.
            reconnect_s: How long to wait for a server that went away, in seconds; what it left
                unanswered is then sent again. 0: the error is raised at once.

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
        return surviving(images, partial(self._stream, plan), wait)

    def _stream(
        self, plan: StreamPlan, images: Iterable[tuple[K, ImageSource]]
    ) -> Generator[Outcome[K], None, None]:
        stream: ImageStream[K] = ImageStream(
            plan,
            partial(self._classify.ClassifyStream, metadata=self._credentials.metadata()),
            self._classify_request,
        )
        return stream.outcomes(images)

    def models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Return every model version that the server knows, in whatever state.

        Raises:
            ClassifyError: The call failed.
        """
        response = self._call(self._models.ListModels, model_pb2.ListModelsRequest(), timeout_s)
        return [model_info(model) for model in response.models]

    def model(
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
        return model_info(self._call(self._models.GetModel, request, timeout_s).model)

    def health(self, service: str = OVERALL, *, timeout_s: float | None = None) -> HealthStatus:
        """Return whether a service takes requests; SERVICE_UNKNOWN if there is none such.

        Raises:
            ServerUnavailableError: No server was reached.
            ClassifyError: The call failed.
        """
        return self._health.check(service, self._timeout_s(timeout_s))

    def wait_until_serving(self, service: str = OVERALL, *, timeout_s: float) -> None:
        """Wait until the server is up and `service` takes requests, at most `timeout_s` seconds.

        Raises:
            DeadlineExceededError: It did not.
            ClassifyError: The call failed for a reason that waiting does not cure.
        """
        self._health.wait_until_serving(service, timeout_s)

    def _classify_request(
        self, request: classify_pb2.ClassifyRequest, timeout_s: float | None
    ) -> Classification:
        return classification(self._call(self._classify.Classify, request, timeout_s))

    def _call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        timeout_s: float | None,
    ) -> ResponseT:
        timeout_s = self._timeout_s(timeout_s)
        try:
            with self._places.taken(timeout_s) as left_s:
                return method(request, left_s, metadata=self._credentials.metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.address, timeout_s) from error
        except TimeoutError:
            raise no_answer(self.address, timeout_s) from None

    def _timeout_s(self, timeout_s: float | None) -> float | None:
        return self.timeout_s if timeout_s is None else timeout_s


def _channel(
    address: str, credentials: Credentials, interceptors: Sequence["grpc.Interceptor"]
) -> grpc.Channel:
    options, secrets = channel_options(address), credentials.channel_credentials(address)
    if secrets is None:
        channel = grpc.insecure_channel(address, options)
    else:
        channel = grpc.secure_channel(address, secrets, options)
    return grpc.intercept_channel(channel, *interceptors) if interceptors else channel
