"""Between inference over HTTP and its gRPC messages: JSON, and tensors as bytes behind it.

As KServe's Open Inference Protocol (open_inference_rest.yaml) and Triton's binary tensor data
extension (docs/protocol/extension_binary_data.md) describe it. Contents travel raw over gRPC
in either case: numbers little-endian and row-major, of BYTES each element behind its length in
four bytes. The server judges whether a tensor is one that it takes.
"""

import base64
import binascii
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from client.cli.json_lines import Json
from client.errors import InvalidArgumentError, ResourceExhaustedError
from proto.inference import inference_pb2

# What a parsed number takes is many times its text: this bounds memory. Two million pixels fit;
# more go as bytes.
MAX_JSON_BYTES = 8 * 1024 * 1024
_DIMENSIONS = 4
_LENGTH = struct.Struct("<I")
_NUMBERS = {"FP32": "f", "INT64": "q"}  # of the outputs there are, in struct's words
_PARAMETERS = {
    bool: "bool_param",
    int: "int64_param",
    float: "double_param",
    str: "string_param",
}

Object = dict[str, Json]
Tensor = inference_pb2.ModelInferRequest.InferInputTensor
Parameter = inference_pb2.InferParameter | inference_pb2.ModelRepositoryParameter


@dataclass(frozen=True)
class Asked:
    """A request, and how its answer is to be written.

    Attributes:
        request: For ModelInfer, with raw contents.
        binary: By output, whether it is to be bytes behind the JSON.
        binary_otherwise: The same of outputs that were not named.
    """

    request: inference_pb2.ModelInferRequest
    binary: Mapping[str, bool]
    binary_otherwise: bool


def infer_request(body: bytes, json_bytes: str | None, model: str, version: str) -> Asked:
    """Return what a body asks.

    Args:
        body: JSON, with the contents of tensors behind it.
        json_bytes: The header Inference-Header-Content-Length: how much of it is JSON; None: all.
        model: From the path.
        version: From the path; empty: the default one.

    Raises:
        InvalidArgumentError: It is malformed.
        ResourceExhaustedError: There is more JSON than MAX_JSON_BYTES.
    """
    size = len(body) if json_bytes is None else _header(json_bytes, len(body))
    asked = parsed(body[:size])
    try:
        return _asked(asked, body[size:], model, version)
    except (TypeError, ValueError) as error:  # of protobuf: wrong type, out of range, no text
        raise InvalidArgumentError(f"the request does not fit the protocol: {error}") from error


def parsed(text: bytes) -> Object:
    """Return the JSON object in a body; an empty body is an empty object.

    Raises:
        InvalidArgumentError: It is none.
        ResourceExhaustedError: It is longer than MAX_JSON_BYTES.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ResourceExhaustedError(
            f"the JSON is larger than the limit of {MAX_JSON_BYTES:,} bytes; send the contents of"
            " tensors as binary data"
        )
    try:
        value = json.loads(text or b"{}", parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the body is not JSON: {error}", field="body") from error
    return _object(value, "body")


def infer_answer(answer: inference_pb2.ModelInferResponse, asked: Asked) -> tuple[bytes, bytes]:
    """Return an answer's JSON, and the contents of the tensors that are to stand behind it."""
    outputs: list[Json] = []
    behind: list[bytes] = []
    for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True):
        told: Object = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
        if asked.binary.get(output.name, asked.binary_otherwise):
            told["parameters"] = {"binary_data_size": len(content)}
            behind.append(content)
        else:
            told["data"] = _values(output.datatype, content)
        outputs.append(told)
    head: Object = {"model_name": answer.model_name, "model_version": answer.model_version}
    if answer.id:
        head["id"] = answer.id
    head["outputs"] = outputs
    return json.dumps(head, allow_nan=False).encode(), b"".join(behind)


def set_parameters(given: Json, parameters: Mapping[str, Parameter], where: str) -> None:
    """Copy parameters into a message's.

    Raises:
        InvalidArgumentError: One is neither a text, a number nor a truth value, or out of range.
    """
    for name, value in _object(given, where).items():
        parameter = parameters[name]
        field = _PARAMETERS.get(type(value), "")
        if field not in parameter.DESCRIPTOR.fields_by_name:
            raise _wrong(f"{where}.{name}", f"must not be {type(value).__name__}")
        try:
            setattr(parameter, field, value)
        except ValueError as error:
            raise _wrong(f"{where}.{name}", f"is out of range: {error}") from error


def _asked(given: Object, behind: bytes, model: str, version: str) -> Asked:
    request = inference_pb2.ModelInferRequest(
        model_name=model, model_version=version, id=_text(given.get("id", ""), "id")
    )
    otherwise = given.get("parameters", {})
    set_parameters(otherwise, request.parameters, "parameters")
    binary_otherwise = _flag(request.parameters, "binary_data_output", default=False)
    start = 0
    for place, tensor in enumerate(_list(given.get("inputs", []), "inputs")):
        start = _add_input(request, _object(tensor, f"inputs[{place}]"), behind, start)
    if start != len(behind):
        raise _wrong("body", f"has {len(behind) - start} bytes that belong to no tensor")
    binary = {}
    for place, output in enumerate(_list(given.get("outputs", []), "outputs")):
        where = f"outputs[{place}]"
        wanted = _object(output, where)
        added = request.outputs.add(name=_text(wanted.get("name", ""), f"{where}.name"))
        set_parameters(wanted.get("parameters", {}), added.parameters, f"{where}.parameters")
        binary[added.name] = _flag(added.parameters, "binary_data", default=binary_otherwise)
    return Asked(request, binary, binary_otherwise)


def _add_input(
    request: inference_pb2.ModelInferRequest, given: Object, behind: bytes, start: int
) -> int:
    """Add an input, whose bytes begin at `start` if it has any; return where they end."""
    where = f"inputs[{len(request.inputs)}]"
    tensor = request.inputs.add(
        name=_text(given.get("name", ""), f"{where}.name"),
        datatype=_text(given.get("datatype", ""), f"{where}.datatype"),
    )
    tensor.shape.extend(_list(given.get("shape", []), f"{where}.shape"))  # type: ignore[arg-type]
    set_parameters(given.get("parameters", {}), tensor.parameters, f"{where}.parameters")
    if "binary_data_size" not in tensor.parameters:
        if "data" in given:
            request.raw_input_contents.append(_packed(tensor, given["data"], where))
        return start
    if "data" in given:
        raise _wrong(where, "must not have both data and binary_data_size")
    size = tensor.parameters["binary_data_size"].int64_param
    if not 0 <= size <= len(behind) - start:
        raise _wrong(
            f"{where}.parameters.binary_data_size",
            f"says {size} bytes; behind the JSON are {len(behind) - start}",
        )
    request.raw_input_contents.append(behind[start : start + size])
    return start + size


def _packed(tensor: Tensor, data: Json, where: str) -> bytes:
    """The contents of a tensor that came as JSON, flat or nested."""
    flat = _flat(_list(data, f"{where}.data"))
    if tensor.datatype == "BYTES":
        if "content_type" not in tensor.parameters or (
            tensor.parameters["content_type"].string_param != "base64"
        ):
            raise _wrong(
                f"{where}.parameters.content_type",
                "must be base64 where BYTES are JSON: images are no text",
            )
        elements = [_decoded(_text(each, f"{where}.data"), where) for each in flat]
        return b"".join(_LENGTH.pack(len(each)) + each for each in elements)
    try:
        if tensor.datatype == "UINT8":
            return bytes(flat)  # type: ignore[arg-type] # what is no integer, it says itself
        if tensor.datatype == "FP32":
            return struct.pack(f"<{len(flat)}f", *flat)
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise _wrong(f"{where}.data", f"is not {tensor.datatype}: {error}") from error
    raise _wrong(f"{where}.datatype", "must be BYTES, UINT8 or FP32")


def _flat(data: list[Json]) -> list[Json]:
    for _ in range(_DIMENSIONS - 1):
        if not any(isinstance(each, list) for each in data):
            break
        data = list(
            chain.from_iterable(each if isinstance(each, list) else [each] for each in data)
        )
    return data


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _wrong(f"{where}.data", f"is not base64: {error}") from error


def _values(datatype: str, content: bytes) -> list[Json]:
    if datatype == "BYTES":
        return [element.decode() for element in _elements(content)]
    return [number for (number,) in struct.iter_unpack(f"<{_NUMBERS[datatype]}", content)]


def _elements(content: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        (size,) = _LENGTH.unpack_from(content, start)
        start += _LENGTH.size
        yield content[start : start + size]
        start += size


def _header(text: str, most: int) -> int:
    digits = len(str(most))
    if not re.fullmatch(rf"[0-9]{{1,{digits}}}", text) or int(text) > most:
        raise _wrong("Inference-Header-Content-Length", f"must be from 0 to {most}")
    return int(text)


def _flag(
    parameters: Mapping[str, inference_pb2.InferParameter], name: str, *, default: bool
) -> bool:
    return parameters[name].bool_param if name in parameters else default


def _object(value: Json, where: str) -> Object:
    if not isinstance(value, dict):
        raise _wrong(where, "must be an object")
    return value


def _list(value: Json, where: str) -> list[Json]:
    if not isinstance(value, list):
        raise _wrong(where, "must be a list")
    return value


def _text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, "must be a text")
    return value


def _no_number(text: str) -> Json:
    raise ValueError(f"{text} is not a number of JSON")


def _wrong(field: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{field} {problem}", field=field)
