"""How engines run, as the operator wants it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from server.pipeline.admission import QueuePolicy
from server.pipeline.cores import Allotment
from server.pipeline.cost import CostModel
from server.pipeline.lanes import Lanes
from server.pipeline.torchscript import Precision
from server.pipeline.tuning import TuningStore


@dataclass(frozen=True)
class EngineOptions:
    """How engines run.

    Attributes:
        device: Where.
        precision: Of the body.
        max_batch_size: Most images in a batch.
        max_queue_delay_s: Longest wait for company while an engine is free.
        queue_limit: Most images that may wait.
        policies: What images of each priority may do.
        slo_p99_s: What 99 of 100 answers are to take at most, queue and engine; inf: anything.
        allotment: Threads for each step.
        lanes: The device's, shared by all models.
        tuning: Batch times that earlier starts measured; None: each start measures.
        brownout_sides: Of inputs, pixels, that images may be shrunk to before being refused.
    """

    device: torch.device
    precision: Precision
    max_batch_size: int
    max_queue_delay_s: float
    queue_limit: int
    policies: Mapping[int, QueuePolicy]
    slo_p99_s: float
    allotment: Allotment
    lanes: Lanes
    tuning: TuningStore | None = None
    brownout_sides: tuple[int, ...] = ()

    def largest_batch(self, cost: CostModel, fits: int) -> int:
        """The largest batch that keeps the objective, of at most ``fits`` images.

        An image may come just after a batch has started, and then runs in the next one.
        """
        return cost.largest_within(self.slo_p99_s / 2, min(self.max_batch_size, fits))

    def kept_policies(self) -> dict[int, QueuePolicy]:
        """The policies, none of which lets an image wait for longer than the objective."""
        return {
            priority: replace(policy, timeout_s=min(policy.timeout_s, self.slo_p99_s))
            for priority, policy in self.policies.items()
        }
