"""Between tensors of the Open Inference Protocol and classify.v1's images and predictions.

Raw contents are as the protocol says: little-endian numbers in row-major order; of BYTES each
element behind its length in four bytes.
"""

import struct
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from proto.classify.v1 import classify_pb2
from proto.inference import inference_pb2
from server.errors import InvalidRequestError

INPUT = "image"
SCORES = "scores"
OUTPUTS = (SCORES, "class_ids", "labels", "top_scores")
_FIELD = "inputs[0]"
_CHANNELS = 3
_LENGTH = struct.Struct("<I")
_MOST_PIXEL = 255

Tensor = inference_pb2.ModelInferRequest.InferInputTensor
Predictions = Sequence[classify_pb2.Prediction]
Values = NDArray[np.float32] | NDArray[np.int64] | list[list[bytes]]


def images_of(request: inference_pb2.ModelInferRequest, most: int) -> list[classify_pb2.Image]:
    """The images that a request holds, at most ``most``.

    Raises:
        InvalidRequestError: The tensor is none that is taken.
    """
    if len(request.inputs) != 1:
        raise InvalidRequestError("inputs", f"must be one tensor, not {len(request.inputs)}")
    tensor, raw = request.inputs[0], request.raw_input_contents
    if any(name.startswith("shared_memory") for name in tensor.parameters):
        raise InvalidRequestError(f"{_FIELD}.parameters", "ask for shared memory: there is none")
    if len(raw) > 1 or (raw and tensor.HasField("contents")):
        raise InvalidRequestError("raw_input_contents", "must be one, and then without contents")
    if any(size < 1 for size in tensor.shape):
        raise InvalidRequestError(f"{_FIELD}.shape", "must be of positive numbers")
    data = raw[0] if raw else None
    if tensor.datatype == "BYTES":
        return _encoded(tensor, data, most)
    if tensor.datatype in ("UINT8", "FP32"):
        return _pixels(tensor, data, most)
    raise InvalidRequestError(f"{_FIELD}.datatype", "must be BYTES, UINT8 or FP32")


def add_output(
    response: inference_pb2.ModelInferResponse,
    name: str,
    answers: Sequence[Predictions],
    top_k: int,
    classification: int,
    *,
    raw: bool,
) -> None:
    """Add an output tensor.

    Args:
        response: To add it to.
        name: One of OUTPUTS.
        answers: The predictions of each image, best first; for "scores" all classes.
        top_k: Of how many labels the outputs but "scores" are.
        classification: How many "score:index:label" strings to give instead; 0: none.
        raw: Whether contents are to be raw.
    """
    best = [row[: classification or top_k] for row in answers]
    datatype, values = ("BYTES", _strings(best)) if classification else _values(name, best, answers)
    tensor = response.outputs.add(name=name, datatype=datatype)
    tensor.shape.extend([len(values), len(values[0])])
    if raw:
        response.raw_output_contents.append(_raw(values))
    elif isinstance(values, list):
        tensor.contents.bytes_contents.extend(element for row in values for element in row)
    elif datatype == "INT64":
        tensor.contents.int64_contents.extend(map(int, values.flat))
    else:
        tensor.contents.fp32_contents.extend(map(float, values.flat))


def _encoded(tensor: Tensor, data: bytes | None, most: int) -> list[classify_pb2.Image]:
    elements = list(tensor.contents.bytes_contents if data is None else _split(data))
    _check_count(len(elements), most)
    if len(elements) != prod(tensor.shape):
        raise InvalidRequestError(
            f"{_FIELD}.shape", f"says {prod(tensor.shape)} elements; there are {len(elements)}"
        )
    return [classify_pb2.Image(encoded=element) for element in elements]


def _split(data: bytes) -> Iterator[bytes]:
    offset = 0
    while offset < len(data):
        end = offset + _LENGTH.size
        if end > len(data):
            raise InvalidRequestError("raw_input_contents", "end within a length")
        (size,) = _LENGTH.unpack_from(data, offset)
        offset = end + size
        if offset > len(data):
            raise InvalidRequestError("raw_input_contents", "end within an element")
        yield data[end:offset]


def _pixels(tensor: Tensor, data: bytes | None, most: int) -> list[classify_pb2.Image]:
    shape = tuple(tensor.shape)
    batched = len(shape) == _CHANNELS + 1
    if not batched and len(shape) != _CHANNELS:
        raise InvalidRequestError(f"{_FIELD}.shape", "of pixels must have 3 or 4 dimensions")
    if _CHANNELS not in (shape[-1], shape[-3]):
        raise InvalidRequestError(f"{_FIELD}.shape", "must have 3 channels, last or before height")
    _check_count(shape[0] if batched else 1, most)
    flat = _numbers(tensor, data)
    if flat.size != prod(shape):
        raise InvalidRequestError(
            f"{_FIELD}.shape", f"says {prod(shape)} elements; there are {flat.size}"
        )
    images = flat.reshape(shape if batched else (1, *shape))
    if shape[-1] != _CHANNELS:
        images = images.transpose(0, 2, 3, 1)
    return [
        classify_pb2.Image(
            raw=classify_pb2.RawImage(
                height=image.shape[0], width=image.shape[1], data=image.tobytes()
            )
        )
        for image in images
    ]


def _numbers(tensor: Tensor, data: bytes | None) -> NDArray[np.uint8]:
    """The pixels, flat; of FP32 rounded from 0 to 255."""
    if tensor.datatype == "UINT8":
        if data is not None:
            return np.frombuffer(data, np.uint8)
        wide = np.array(tensor.contents.uint_contents, np.int64)
        if wide.size and wide.max() > _MOST_PIXEL:
            raise InvalidRequestError(f"{_FIELD}.contents", "must be from 0 to 255")
        return wide.astype(np.uint8)
    if data is not None and len(data) % 4:
        raise InvalidRequestError("raw_input_contents", "of FP32 must be a multiple of 4 bytes")
    floats = np.array(tensor.contents.fp32_contents, "<f4")
    if data is not None:
        floats = np.frombuffer(data, "<f4")
    if not ((floats >= 0) & (floats <= _MOST_PIXEL)).all():  # nor is NaN
        raise InvalidRequestError(f"{_FIELD}.contents", "of FP32 must be pixels from 0 to 255")
    pixels: NDArray[np.uint8] = np.rint(floats).astype(np.uint8)
    return pixels


def _values(
    name: str, best: Sequence[Predictions], answers: Sequence[Predictions]
) -> tuple[str, Values]:
    if name == "labels":
        return "BYTES", [[each.id.encode() for each in row] for row in best]
    if name == "class_ids":
        return "INT64", np.array([[each.index for each in row] for row in best], "<i8")
    if name == "top_scores":
        return "FP32", np.array([[each.score for each in row] for row in best], "<f4")
    ordered = [sorted(row, key=lambda each: each.index) for row in answers]
    return "FP32", np.array([[each.score for each in row] for row in ordered], "<f4")


def _strings(best: Sequence[Predictions]) -> Values:
    return [[f"{each.score:f}:{each.index}:{each.id}".encode() for each in row] for row in best]


def _raw(values: Values) -> bytes:
    if isinstance(values, list):
        return b"".join(_LENGTH.pack(len(each)) + each for row in values for each in row)
    return values.tobytes()


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise InvalidRequestError(f"{_FIELD}.shape", f"must be of 1 to {most} images, not {count}")
