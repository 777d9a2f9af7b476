"""The moving average of weights, in few steps and in many."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from trainer.averaging import AveragedWeights, decay_after


def averaged(values: list[float], decay: float) -> float:
    """What the callback's average makes of a weight that takes ``values`` one after another."""
    model = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(model, **AveragedWeights(decay)._kwargs)
    for value in values:
        torch.nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    return average.module.weight.item()


def test_few_steps_leave_next_to_nothing_of_where_training_began() -> None:
    # A fixed decay of 0.99 would keep 0.99 ** 30, which is 74%.
    assert averaged([1.0] + [0.0] * 30, decay=0.99) < 1e-6


def test_after_many_steps_the_decay_is_the_one_asked_for() -> None:
    assert decay_after(10_000, 0.99) == 0.99
    assert averaged([0.0] * 2000 + [1.0], decay=0.99) == pytest.approx(0.01, rel=1e-3)
