"""A photo classified with KServe's own client, over HTTP and over gRPC. Prints JSON.

    python tests/integration/kserve_flow.py GATEWAY SERVER PHOTO

Run by an interpreter that has ``kserve``, which brings Kubernetes' client and an HTTP server
along: it needs nothing of this repository.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

MODEL = "cats-vs-dogs"


def request(values: np.ndarray, datatype: str, *, binary: bool) -> InferRequest:
    tensor = InferInput("image", list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return InferRequest(model_name=MODEL, infer_inputs=[tensor], request_id="7")


def outputs(answer: object) -> dict:
    found = {output.name: output.as_numpy().tolist() for output in answer.outputs}
    found["labels"] = [
        [each.decode() if isinstance(each, bytes) else each for each in row]
        for row in found["labels"]
    ]
    return {"id": answer.id, **found}


async def main(gateway: str, server: str, photo: bytes) -> None:
    rest = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60, retries=0))
    grpc = InferenceGRPCClient(server)
    encoded = np.array([photo], object)
    pixels = np.full((1, 32, 32, 3), 120, np.uint8)
    report = {
        "states": [
            await rest.is_server_live(gateway),
            await rest.is_server_ready(gateway),
            await rest.is_model_ready(gateway, MODEL),
            await grpc.is_server_live(),
            await grpc.is_server_ready(),
            await grpc.is_model_ready(MODEL),
        ],
        "photo": [
            outputs(
                await rest.infer(gateway, request(encoded, "BYTES", binary=True), model_name=MODEL)
            ),
            outputs(await grpc.infer(request(encoded, "BYTES", binary=True))),
        ],
        "pixels": [
            outputs(
                await rest.infer(gateway, request(pixels, "UINT8", binary=False), model_name=MODEL)
            ),
            outputs(
                await rest.infer(gateway, request(pixels, "UINT8", binary=True), model_name=MODEL)
            ),
            outputs(await grpc.infer(request(pixels, "UINT8", binary=True))),
        ],
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3], Path(sys.argv[3]).read_bytes()))
