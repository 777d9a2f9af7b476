"""A model version that shrinks images rather than refuse them, and says so."""

import asyncio
from math import inf
from pathlib import Path

import torch
from prometheus_client import CollectorRegistry

from models.image_header import ImageLimits
from models.repository import ModelRepository
from server.catalog.classification import Classification
from server.catalog.servable import Servable
from server.pipeline.decode import DecodePool, RawPixels
from server.pipeline.torchscript import TorchScriptEngine
from server.rpc import translate
from server.telemetry.metrics import Metrics
from tests.artifacts import TINY_NAME, TINY_SIDE, coloured, publish_tiny_artifact
from tests.engines import engine_options

SIDE = 8
OPTIONS = engine_options(brownout_sides=(SIDE,))


async def classify(servable: Servable, deadline: float) -> Classification:
    data = coloured("green").permute(1, 2, 0).contiguous().numpy().tobytes()
    source = RawPixels(data, TINY_SIDE, TINY_SIDE, "image")
    return await servable.classify(source, 1, 0.0, deadline=deadline)


async def test_an_image_is_shrunk_where_the_whole_would_come_too_late(tmp_path: Path) -> None:
    publish_tiny_artifact(tmp_path)
    artifact = ModelRepository(tmp_path).read(TINY_NAME, 1)
    metrics, decoder = Metrics(CollectorRegistry()), DecodePool(1, 64, ImageLimits())
    servable = await Servable.load(artifact, decoder, OPTIONS, metrics)
    try:
        # An engine that is believed to take hours.
        engine = TorchScriptEngine(artifact, torch.device("cpu"), "fp32")
        servable.take_over(engine, {1: 1e-9, 2: 1e-9})  # type: ignore[arg-type]
        soon = asyncio.get_running_loop().time() + 30
        shrunk, whole = await classify(servable, soon), await classify(servable, inf)
        assert [one.predictions[0].label.id for one in (shrunk, whole)] == ["green"] * 2
        assert (shrunk.shrunk_to, whole.shrunk_to) == (SIDE, 0)
        manifest = servable.manifest
        told = [translate.response("", manifest, "", one, 0.0) for one in (shrunk, whole)]
        assert [one.browned_out_side for one in told] == [SIDE, 0]
        labels = {"model": TINY_NAME, "version": "1"}
        count = metrics.registry.get_sample_value
        assert count("menagerie_browned_out_total", {**labels, "side": str(SIDE)}) == 1
        assert count("menagerie_best_score_count", labels) == 1  # drift knows whole images alone
    finally:
        await servable.drain()
        decoder.close()
