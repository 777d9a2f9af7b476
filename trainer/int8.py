"""Whether servers may compute a network in int8: only where it answers as well."""

import logging

import torch
from torch import Tensor

from models.errors import GoldenMismatchError
from models.exported import open_twin
from models.golden import GoldenSamples, check_golden
from models.int8 import activation_ranges, quantised
from models.manifest import Int8
from trainer.evaluate import measure
from trainer.logits import logits_of
from trainer.score import Predictions

log = logging.getLogger(__name__)

_CALIBRATION_IMAGES = 256
_TEST_IMAGES = 2_000
_BATCH = 32
_MAX_ACCURACY_LOSS = 0.005
_MAX_LOG_LOSS_RATIO = 1.05
_MOST_OFF = 0.1  # of a golden score, which has a margin of twice that
# Kernels round where the measurement here does not, and servers compare with a body in bf16.
_LEAST_TOLERANCE = 0.05


class RefusedError(Exception):
    """The network is worse in int8; the message says by how much."""


def int8_of(
    twin: bytes,
    validation: Predictions,
    test: Predictions,
    golden: GoldenSamples,
    temperature: float,
) -> Int8 | None:
    """What the manifest says of int8; None where it is not offered, which the log explains.

    Args:
        twin: Of the network.
        validation: Photos to see with where activations lie.
        test: Photos to compare on.
        golden: Samples that it must reproduce.
        temperature: Of the scores.
    """
    try:
        return measured(twin, validation, test, golden, temperature)
    except (RefusedError, ValueError, TypeError) as error:  # no number, or an unusual graph
        log.warning("int8 is not offered: %s", error)
        return None


def measured(
    twin: bytes,
    validation: Predictions,
    test: Predictions,
    golden: GoldenSamples,
    temperature: float,
) -> Int8:
    """As :func:`int8_of`.

    Raises:
        RefusedError: It is not offered.
    """
    seen = _some(validation.images.inputs, _CALIBRATION_IMAGES)
    ranges = activation_ranges(open_twin(twin), validation.images.inputs[seen].split(_BATCH))
    if not ranges:
        raise RefusedError("the network has no layer to quantise")
    module = quantised(open_twin(twin), ranges)
    try:
        off = check_golden(
            golden,
            lambda images: torch.softmax(logits_of(module, images) / temperature, dim=1),
            temperature,
            _MOST_OFF,
        )
    except GoldenMismatchError as error:
        raise RefusedError(str(error)) from error
    chosen = _some(test.images.inputs, _TEST_IMAGES)
    labels = test.images.labels[chosen]
    whole = measure(test.logits[chosen], labels, temperature)
    found = measure(logits_of(module, test.images.inputs[chosen], _BATCH), labels, temperature)
    if not found.accuracy >= whole.accuracy - _MAX_ACCURACY_LOSS:
        raise RefusedError(f"accuracy {found.accuracy:.2%} instead of {whole.accuracy:.2%}")
    if not found.log_loss <= whole.log_loss * _MAX_LOG_LOSS_RATIO:  # also true of NaN
        raise RefusedError(f"log loss {found.log_loss:.4f} instead of {whole.log_loss:.4f}")
    return Int8(
        ranges=ranges,
        images=found.images,
        accuracy=found.accuracy,
        accuracy_fp32=whole.accuracy,
        log_loss=found.log_loss,
        score_tolerance=max(_LEAST_TOLERANCE, 2 * off),
    )


def _some(images: Tensor, most: int) -> Tensor:
    """Indices of at most so many, spread evenly."""
    count = min(most, len(images))
    return torch.linspace(0, len(images) - 1, count).round().long()
