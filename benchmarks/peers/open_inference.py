"""ModelInfer of the Open Inference Protocol v2, as far as sending a photo needs it."""

import struct

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_Field = descriptor_pb2.FieldDescriptorProto


def infer_request(model: str, photo: bytes) -> bytes:
    """Return a request that carries one encoded photo as BYTES [1, 1]."""
    request = _REQUEST(model_name=model)
    request.inputs.add(name="photo", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<I", len(photo)) + photo)
    content: bytes = request.SerializeToString()
    return content


def _request_class() -> type:
    """Build the message from the protocol's field numbers; what is not sent is left out."""
    file = descriptor_pb2.FileDescriptorProto(name="peers.proto", package="inference")
    file.syntax = "proto3"
    request = file.message_type.add(name="ModelInferRequest")
    tensor = request.nested_type.add(name="InferInputTensor")
    _add(request, "model_name", 1, _Field.TYPE_STRING)
    _add(request, "inputs", 5, _Field.TYPE_MESSAGE, repeated=True)
    request.field[-1].type_name = ".inference.ModelInferRequest.InferInputTensor"
    _add(request, "raw_input_contents", 7, _Field.TYPE_BYTES, repeated=True)
    _add(tensor, "name", 1, _Field.TYPE_STRING)
    _add(tensor, "datatype", 2, _Field.TYPE_STRING)
    _add(tensor, "shape", 3, _Field.TYPE_INT64, repeated=True)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("inference.ModelInferRequest")
    )


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


_REQUEST = _request_class()
