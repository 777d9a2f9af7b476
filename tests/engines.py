"""Engine options of tests that make a servable without a server."""

from dataclasses import replace
from math import inf
from typing import Any

import torch

from server.catalog.options import EngineOptions
from server.pipeline.cores import Allotment
from server.pipeline.lanes import Lanes


def engine_options(**changes: Any) -> EngineOptions:
    """One lane of one thread on the CPU, fp32, two images a batch; all of it may be changed."""
    plain = EngineOptions(
        device=torch.device("cpu"),
        precision="fp32",
        max_batch_size=2,
        max_queue_delay_s=0.0,
        queue_limit=64,
        policies={},
        slo_p99_s=inf,
        allotment=Allotment(1, 1, 1),
        lanes=Lanes(1),
    )
    return replace(plain, **changes)
