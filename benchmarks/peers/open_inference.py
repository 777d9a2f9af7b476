"""ModelInfer of the Open Inference Protocol v2, as far as sending photos needs it.

Triton adds ModelStreamInfer: the same requests on a stream, answered in any order.
"""

import struct
from collections.abc import Mapping, Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

METHOD = "/inference.GRPCInferenceService/ModelInfer"
STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
_Field = descriptor_pb2.FieldDescriptorProto


def infer_request(model: str, photos: Sequence[bytes], request_id: str = "") -> bytes:
    """Return a request that carries encoded photos as BYTES [n, 1]."""
    request = _MESSAGES["ModelInferRequest"](model_name=model, id=request_id)
    request.inputs.add(name="photo", datatype="BYTES", shape=[len(photos), 1])
    request.raw_input_contents.append(
        b"".join(struct.pack("<I", len(photo)) + photo for photo in photos)
    )
    content: bytes = request.SerializeToString()
    return content


def stream_answer(response: bytes) -> tuple[str, str]:
    """Return what a response on a stream says: the request's id, and an error or nothing."""
    message = _MESSAGES["ModelStreamInferResponse"].FromString(response)
    return message.infer_response.id, message.error_message


def _message_classes() -> Mapping[str, type]:
    """Build the messages from the protocol's field numbers; what is not needed is left out."""
    file = descriptor_pb2.FileDescriptorProto(name="peers.proto", package="inference")
    file.syntax = "proto3"
    request = file.message_type.add(name="ModelInferRequest")
    tensor = request.nested_type.add(name="InferInputTensor")
    _add(request, "model_name", 1, _Field.TYPE_STRING)
    _add(request, "id", 3, _Field.TYPE_STRING)
    _add(request, "inputs", 5, _Field.TYPE_MESSAGE, repeated=True)
    request.field[-1].type_name = ".inference.ModelInferRequest.InferInputTensor"
    _add(request, "raw_input_contents", 7, _Field.TYPE_BYTES, repeated=True)
    _add(tensor, "name", 1, _Field.TYPE_STRING)
    _add(tensor, "datatype", 2, _Field.TYPE_STRING)
    _add(tensor, "shape", 3, _Field.TYPE_INT64, repeated=True)
    response = file.message_type.add(name="ModelInferResponse")
    _add(response, "id", 3, _Field.TYPE_STRING)
    streamed = file.message_type.add(name="ModelStreamInferResponse")
    _add(streamed, "error_message", 1, _Field.TYPE_STRING)
    _add(streamed, "infer_response", 2, _Field.TYPE_MESSAGE)
    streamed.field[-1].type_name = ".inference.ModelInferResponse"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"inference.{message.name}")
        )
        for message in file.message_type
    }


def _add(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: int,
    *,
    repeated: bool = False,
) -> None:
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    message.field.add(name=name, number=number, type=kind, label=label)


_MESSAGES = _message_classes()
