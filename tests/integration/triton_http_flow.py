"""Triton's image-classification flow over HTTP with its own client, as it comes from the index.

A process of its own, as ``triton_flow`` is, and also because gevent patches. Prints JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from PIL import Image


def main(address: str, photo: str) -> None:
    client = triton.InferenceServerClient(address, concurrency=2)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cats-vs-dogs")
    assert not client.is_model_ready("nothing")
    metadata = client.get_model_metadata("cats-vs-dogs")
    config = client.get_model_config("cats-vs-dogs")
    taken, given = metadata["inputs"][0], metadata["outputs"][0]
    height, width = config["input"][0]["dims"][:2]
    with Image.open(photo) as image:
        square = image.convert("RGB").resize((width, height))
    pixels = np.asarray(square, np.uint8)[None]

    def statistics() -> list:
        return client.get_inference_statistics("cats-vs-dogs")["model_stats"]

    before = statistics()

    def infer(array: np.ndarray, datatype: str, **options: object) -> triton.InferResult:
        binary = options.pop("binary", True)
        tensor = triton.InferInput(taken["name"], list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        output = triton.InferRequestedOutput(
            given["name"], binary_data=binary, class_count=options.pop("class_count", 0)
        )
        return client.infer("cats-vs-dogs", [tensor], outputs=[output], request_id="7", **options)

    def scores(*args: object, **options: object) -> list:
        return infer(*args, **options).as_numpy(given["name"]).tolist()

    encoded = triton.InferInput("image", [1], "BYTES")
    encoded.set_data_from_numpy(np.array([Path(photo).read_bytes()], object))
    everything = client.infer("cats-vs-dogs", [encoded], parameters={"top_k": 1})
    later = client.async_infer("cats-vs-dogs", [encoded], model_version="").get_result()
    report = {
        "server": client.get_server_metadata(),
        "strings": scores(pixels, "UINT8", class_count=2),
        "json_strings": scores(pixels, "UINT8", class_count=2, binary=False),
        "scores": [
            scores(pixels, "UINT8"),
            scores(pixels, "UINT8", binary=False),
            scores(pixels.astype(np.float32), "FP32"),
            scores(pixels.astype(np.float32), "FP32", binary=False),
            scores(pixels.transpose(0, 3, 1, 2).copy(), "UINT8"),
            scores(pixels, "UINT8", request_compression_algorithm="gzip"),
            scores(pixels, "UINT8", request_compression_algorithm="deflate"),
        ],
        "batch": scores(np.repeat(pixels, 3, axis=0), "UINT8"),
        "labels": everything.as_numpy("labels").tolist(),
        "class_ids": everything.as_numpy("class_ids").tolist(),
        "later": later.as_numpy("labels").tolist(),
        "version": everything.get_response()["model_version"],
        "id": infer(pixels, "UINT8").get_response()["id"],
        "statistics": [before, statistics()],
        "index": [model["state"] for model in client.get_model_repository_index()],
        "errors": [
            refused(lambda: client.infer("nothing", [encoded])),
            refused(lambda: client.infer("cats-vs-dogs", [encoded, encoded])),
            refused(lambda: client.load_model("cats-vs-dogs")),
        ],
    }
    sys.stdout.write(
        json.dumps(report, default=lambda each: each.decode() if isinstance(each, bytes) else each)
    )


def refused(call) -> list[str]:
    try:
        call()
    except triton.InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it was not refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
