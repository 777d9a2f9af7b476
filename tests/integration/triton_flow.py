"""Triton's image-classification flow with its own client, as it comes from the package index.

A process of its own: two sets of classes for one protocol do not go into one. Prints JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.grpc import service_pb2


def main(address: str, photo: str) -> None:
    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cats-vs-dogs")
    metadata = client.get_model_metadata("cats-vs-dogs")
    config = client.get_model_config("cats-vs-dogs").config
    taken, given = metadata.inputs[0], metadata.outputs[0]
    height, width = config.input[0].dims[:2]
    assert (len(metadata.inputs), len(metadata.outputs), len(taken.shape)) == (1, 1, 4)
    with Image.open(photo) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").resize(
            (width, height), box=(left, top, left + side, top + side)
        )
    pixels = np.asarray(square, np.uint8)[None]

    def statistics() -> list:
        return client.get_inference_statistics("cats-vs-dogs", as_json=True)["model_stats"]

    before = statistics()

    def infer(array: np.ndarray, datatype: str, **options: int) -> triton.InferResult:
        tensor = triton.InferInput(taken.name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        output = triton.InferRequestedOutput(given.name, **options)
        return client.infer("cats-vs-dogs", [tensor], outputs=[output], request_id="7")

    data = np.array([Path(photo).read_bytes()], object)
    encoded = triton.InferInput("image", [1], "BYTES")
    encoded.set_data_from_numpy(data)
    everything = client.infer("cats-vs-dogs", [encoded], parameters={"top_k": 1})
    batch = np.repeat(pixels, 3, axis=0)
    report = {
        "strings": infer(pixels, taken.datatype, class_count=2).as_numpy(given.name).tolist(),
        "uint8": infer(pixels, "UINT8").as_numpy(given.name).tolist(),
        "fp32": infer(pixels.astype(np.float32), "FP32").as_numpy(given.name).tolist(),
        "nchw": infer(pixels.transpose(0, 3, 1, 2).copy(), "UINT8").as_numpy(given.name).tolist(),
        "batch": infer(batch, "UINT8").as_numpy(given.name).tolist(),
        "labels": everything.as_numpy("labels").tolist(),
        "class_ids": everything.as_numpy("class_ids").tolist(),
        "top_scores": everything.as_numpy("top_scores").tolist(),
        "version": everything.get_response().model_version,
        "statistics": [before, statistics()],
        "protocol": protocol(),
        "index": [model.state for model in client.get_model_repository_index().models],
    }
    try:
        client.infer("nothing", [encoded])
    except triton.InferenceServerException as error:
        report["unknown"] = error.status()
    sys.stdout.write(
        json.dumps(report, default=lambda each: each.decode() if isinstance(each, bytes) else each)
    )


UNSERVED = ("SharedMemory", "StreamInfer", "TraceSetting", "LogSettings", "ModelConfig")


def protocol() -> dict[str, list[str]]:
    """Triton's calls under ""; and the fields of each message of those that are served."""
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    found = {"": [method.name for method in methods]}
    served = [m for m in methods if not any(name in m.name for name in UNSERVED)]
    waiting = [message for m in served for message in (m.input_type, m.output_type)]
    while waiting:
        message = waiting.pop()
        if message.name in found:
            continue
        inner = [field.message_type for field in message.fields if field.message_type]
        if message.GetOptions().map_entry:
            waiting.extend(inner)
            continue
        found[message.name] = [field.name for field in message.fields]
        waiting.extend(inner)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
