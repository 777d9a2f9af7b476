"""The blocking client. Safe to share between threads."""

from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Self, TypeVar

import grpc

from client.address import server_address
from client.channel import channel_options
from client.health import OVERALL, HealthCalls, HealthStatus
from client.images import ImageSource, image_bytes
from client.messages import Priority, Query, classification, model_info, model_spec, with_image
from client.results import Classification, ModelInfo, Outcome
from client.status import from_rpc_error
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
        self._channel = grpc.insecure_channel(self.address, channel_options(self.address))
        self._classify = classify_pb2_grpc.ClassifyServiceStub(self._channel)
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
        priority: Priority = "normal",
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> Classification:
        """Classify one image.

        Args:
            image: Encoded JPEG, PNG or WebP bytes, or the path of such a file.
            model: Empty: the server's default model.
            version: A version number. Empty: the model's default version.
            label: A version label, instead of a version.
            top_k: How many labels to return, best first, 1 to 1000. None: the server's default.
            min_score: Leaves out labels below it, 0 to 1. None: none.
            priority: The more urgent are served first; "bulk" whenever there is room.
            timeout_s: In seconds. None: the client's.
            request_id: Printable ASCII, for the server's logs. Empty: the server makes one.

        Raises:
            ImageFileError: The image cannot be read or is too large.
            ServerUnavailableError: No server was reached.
            ClassifyError: The server refused or failed the request.
        """
        template = Query(model, version, label, top_k, min_score, priority).request()
        request = with_image(template, image_bytes(image), request_id)
        return self._classify_request(request, timeout_s)

    def classify_many(
        self,
        images: Iterable[tuple[K, ImageSource]],
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
            priority: See ``classify``.
            timeout_s: How long an item may wait for its answer, in seconds. None: the client's.
            window: How many items may be under way at once, at least 1.
            ordered: Yield outcomes in the order of `images` instead of as they arrive.

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
        stream: ImageStream[K] = ImageStream(
            plan, self._classify.ClassifyStream, self._classify_request
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
            return method(request, timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.address, timeout_s) from error

    def _timeout_s(self, timeout_s: float | None) -> float | None:
        return self.timeout_s if timeout_s is None else timeout_s
