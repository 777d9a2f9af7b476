"""MLServer: adaptive batching, a process for each worker; the Open Inference Protocol over gRPC."""

import asyncio
import sys

from classifier import MAX_BATCH, MAX_DELAY_S, NAMES, WORKERS
from mlserver import MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from runtime import Runtime


async def main(port: int) -> None:
    """Serve until SIGTERM."""
    settings = Settings(
        host="127.0.0.1",
        grpc_port=port,
        http_port=port + 1,
        metrics_port=port + 2,
        parallel_workers=WORKERS,
        grpc_max_message_length=32 * 2**20,
        load_models_at_startup=False,
    )
    models = [
        ModelSettings(
            name=name,
            implementation=Runtime,
            parameters=ModelParameters(version="1"),
            max_batch_size=MAX_BATCH,
            max_batch_time=MAX_DELAY_S,
        )
        for name in NAMES
    ]
    server = MLServer(settings)
    await server.start(models)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
