"""Whom the gateway asks: a client that also speaks the Open Inference Protocol, message by message.

The gateway passes that protocol on as it is, so messages are not made into results here.
"""

from typing import TYPE_CHECKING

from client.aio import AsyncClient, RequestT, ResponseT
from proto.inference import inference_pb2_grpc

if TYPE_CHECKING:
    import grpc


class Upstream(AsyncClient):
    """A connection to a server; see ``AsyncClient`` for the rest."""

    @property
    def inference(self) -> "inference_pb2_grpc.GRPCInferenceServiceAsyncStub":
        """The methods of ``inference.GRPCInferenceService``, for :meth:`call`."""
        return inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]", request: RequestT
    ) -> ResponseT:
        """Call a method.

        Raises:
            ServerUnavailableError: No server was reached.
            ClassifyError: The server refused or failed the call.
        """
        return await self._call(method, request, None)
