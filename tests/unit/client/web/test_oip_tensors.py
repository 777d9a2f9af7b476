import base64
import json
import struct

import pytest

from client.errors import ClientError, InvalidArgumentError
from client.web import oip_tensors
from client.web.oip_tensors import Asked, infer_answer, infer_request
from proto.inference import inference_pb2


def asked(given, behind=b"", size=None):
    text = json.dumps(given).encode()
    header = str(len(text)) if size is None and behind else size
    return infer_request(text + behind, header, "pets", "")


def image(**more):
    return {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 3], **more}


def test_nested_and_flat_numbers_are_the_same_bytes():
    flat = asked({"id": "7", "inputs": [image(data=[0, 1, 2, 3, 4, 255])]}).request
    nested = asked({"id": "7", "inputs": [image(data=[[[[0, 1, 2], [3, 4, 255]]]])]}).request
    assert flat == nested
    assert (flat.id, flat.model_name) == ("7", "pets")
    assert flat.raw_input_contents[0] == bytes([0, 1, 2, 3, 4, 255])
    assert not flat.inputs[0].HasField("contents")


def test_real_numbers():
    tensor = image(datatype="FP32", data=[0, 0.5, 1, 2, 3, 255])
    assert asked({"inputs": [tensor]}).request.raw_input_contents[0] == struct.pack(
        "<6f", 0, 0.5, 1, 2, 3, 255
    )


def test_encoded_images_in_json_are_base64():
    data = [base64.b64encode(b"\xff\xd8").decode()]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": data}
    with pytest.raises(InvalidArgumentError, match="content_type must be base64"):
        asked({"inputs": [tensor]})
    tensor["parameters"] = {"content_type": "base64"}
    assert asked({"inputs": [tensor]}).request.raw_input_contents[0] == b"\2\0\0\0\xff\xd8"


def test_bytes_behind_the_json_go_to_their_tensors():
    tensors = [image(parameters={"binary_data_size": size}) for size in (2, 3)]
    request = asked({"inputs": tensors}, b"aabbb").request
    assert list(request.raw_input_contents) == [b"aa", b"bbb"]


def test_parameters():
    request = asked(
        {
            "parameters": {"top_k": 3, "routing_key": "a", "binary_data_output": True, "x": 0.5},
            "outputs": [{"name": "scores", "parameters": {"classification": 2}}],
        }
    ).request
    assert request.parameters["top_k"].int64_param == 3
    assert request.parameters["routing_key"].string_param == "a"
    assert request.parameters["binary_data_output"].bool_param is True
    assert request.parameters["x"].double_param == 0.5
    assert request.outputs[0].parameters["classification"].int64_param == 2


OVER = {"binary_data_size": 3}
DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    ("body", "header", "problem"),
    [
        (b"[]", None, "body must be an object"),
        (b'{"inputs": 1}', None, "inputs must be a list"),
        (b'{"inputs": [1]}', None, "inputs\\[0\\] must be an object"),
        (b'{"inputs": [{"name": 1}]}', None, "name must be a text"),
        (b'{"inputs": [{"shape": ["a"]}]}', None, "does not fit the protocol"),
        (b'{"inputs": [{"shape": [99999999999999999999]}]}', None, "does not fit the protocol"),
        (b'{"id": "\\ud800"}', None, "does not fit the protocol"),
        (b'{"parameters": {"a": [1]}}', None, "parameters.a must not be list"),
        (b'{"parameters": {"a": 99999999999999999999}}', None, "parameters.a is out of range"),
        (b'{"outputs": [{"name": "x", "parameters": []}]}', None, "must be an object"),
        (b"no json", None, "not JSON"),
        (b"\xff", None, "not JSON"),
        (b'{"a": NaN}', None, "not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", None, "not JSON"),
        (DEEP, None, "not JSON"),
        (b"{}x", "2", "1 bytes that belong to no tensor"),
        (b"{}", "3", "must be from 0 to 2"),
        (b"{}", "-1", "must be from 0 to 2"),
        (b"{}", "9" * 5000, "must be from 0 to 2"),
        (b"{}", "\N{SUPERSCRIPT TWO}", "must be from 0 to 2"),
        (json.dumps({"inputs": [image(parameters=OVER)]}).encode(), None, "says 3 bytes"),
        (json.dumps({"inputs": [image(parameters={"binary_data_size": -1})]}).encode(), None,
         "says -1 bytes"),
        (json.dumps({"inputs": [image(parameters=OVER, data=[])]}).encode(), None, "both"),
        (json.dumps({"inputs": [image(data=[256])]}).encode(), None, "is not UINT8"),
        (json.dumps({"inputs": [image(data=["a"])]}).encode(), None, "is not UINT8"),
        (json.dumps({"inputs": [image(data=[[[[[1]]]]])]}).encode(), None, "is not UINT8"),
        (json.dumps({"inputs": [image(datatype="FP32", data=[1e300])]}).encode(), None,
         "is not FP32"),
        (json.dumps({"inputs": [image(datatype="FP64", data=[1])]}).encode(), None,
         "must be BYTES, UINT8 or FP32"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_named(body, header, problem):
    with pytest.raises(InvalidArgumentError, match=problem):
        infer_request(body, header, "pets", "")


def test_json_is_bounded(monkeypatch):
    monkeypatch.setattr(oip_tensors, "MAX_JSON_BYTES", 10)
    with pytest.raises(ClientError) as caught:
        asked({"inputs": [image(data=[])]})
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert infer_request(b"{}", None, "pets", "").request.model_name == "pets"


ANSWER = inference_pb2.ModelInferResponse(
    model_name="pets",
    model_version="3",
    id="7",
    outputs=[
        inference_pb2.ModelInferResponse.InferOutputTensor(
            name="class_ids", datatype="INT64", shape=[1, 2]
        ),
        inference_pb2.ModelInferResponse.InferOutputTensor(
            name="labels", datatype="BYTES", shape=[1, 2]
        ),
    ],
    raw_output_contents=[struct.pack("<2q", 4, -1), b"\3\0\0\0cat\2\0\0\0\xc3\xa4"],
)


def test_an_answer_in_json():
    head, behind = infer_answer(ANSWER, Asked(inference_pb2.ModelInferRequest(), {}, False))
    assert behind == b""
    assert json.loads(head) == {
        "model_name": "pets",
        "model_version": "3",
        "id": "7",
        "outputs": [
            {"name": "class_ids", "datatype": "INT64", "shape": [1, 2], "data": [4, -1]},
            {"name": "labels", "datatype": "BYTES", "shape": [1, 2], "data": ["cat", "ä"]},
        ],
    }


def test_an_output_behind_the_json():
    request = inference_pb2.ModelInferRequest()
    head, behind = infer_answer(ANSWER, Asked(request, {"class_ids": False}, True))
    by_name = {output["name"]: output for output in json.loads(head)["outputs"]}
    assert by_name["class_ids"]["data"] == [4, -1]
    assert by_name["labels"]["parameters"] == {"binary_data_size": len(behind)}
    assert behind == ANSWER.raw_output_contents[1]
