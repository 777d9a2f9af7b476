"""One gRPC method without messages of its own: a photo's bytes in, the answer's bytes out."""

from collections.abc import Callable

import grpc

SERVICE, METHOD = "peer.Classifier", "Classify"
OPTIONS = [("grpc.max_receive_message_length", 32 * 2**20)]


def handlers(classify: Callable[..., object]) -> grpc.GenericRpcHandler:
    """Return what a server needs to answer the method with `classify`(photo, context)."""
    method = grpc.unary_unary_rpc_method_handler(classify)
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})
