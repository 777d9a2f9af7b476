"""Golden samples: inputs with the logits that a faithful copy of the module gives.

They travel with the artifact. Whoever loads it, in whatever dtype and layout,
runs them before it takes traffic.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.errors import GoldenMismatchError, IntegrityError
from models.inflation import check_inflation
from models.manifest import GOLDEN_NAME


@dataclass(frozen=True)
class GoldenSamples:
    """Inputs and what they must give.

    Attributes:
        inputs: uint8 [n, 3, h, w].
        logits: float32 [n, classes], computed in fp32 by the published module.
    """

    inputs: Tensor
    logits: Tensor


def save_golden(samples: GoldenSamples) -> bytes:
    """Serialise as a compressed .npz without pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=samples.inputs.numpy(), logits=samples.logits.numpy())
    return buffer.getvalue()


def load_golden(data: bytes) -> GoldenSamples:
    """Read what :func:`save_golden` wrote.

    Raises:
        IntegrityError: Not such a file, or its arrays do not fit together.
    """
    check_inflation(data, GOLDEN_NAME)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            # An entry that is no array comes as it lies there, as bytes.
            inputs, logits = np.asanyarray(arrays["inputs"]), np.asanyarray(arrays["logits"])
    except Exception as error:  # numpy, zipfile and zlib raise many kinds on damage
        raise IntegrityError(f"{GOLDEN_NAME} cannot be read") from error
    fits = inputs.ndim == 4 and logits.ndim == 2 and len(inputs) == len(logits) > 0  # noqa: PLR2004
    if inputs.dtype != np.uint8 or logits.dtype != np.float32 or not fits:
        raise IntegrityError(f"{GOLDEN_NAME} does not hold uint8 images with float32 logits")
    return GoldenSamples(torch.from_numpy(inputs), torch.from_numpy(logits))


def check_golden(
    samples: GoldenSamples,
    run: Callable[[Tensor], Tensor],
    temperature: float,
    tolerance: float,
) -> float:
    """Run the samples and compare scores.

    Args:
        samples: The golden samples.
        run: From uint8 [n, 3, h, w] to scores float32 [n, classes] on the CPU.
        temperature: The manifest's calibration temperature.
        tolerance: Largest absolute difference of any score.

    Returns:
        The largest absolute difference found.

    Raises:
        GoldenMismatchError: A score is off by more, is NaN, or a best label differs.
    """
    expected = torch.softmax(samples.logits / temperature, dim=1)
    scores = run(samples.inputs)
    if scores.shape != expected.shape:
        raise GoldenMismatchError(
            f"golden samples gave scores of shape {tuple(scores.shape)},"
            f" not {tuple(expected.shape)}"
        )
    difference = float((scores - expected).abs().max())
    if not difference <= tolerance:  # also true of NaN
        raise GoldenMismatchError(
            f"golden samples gave scores off by {difference:.2g}; {tolerance:.2g} is allowed"
        )
    if not torch.equal(scores.argmax(dim=1), expected.argmax(dim=1)):
        raise GoldenMismatchError("golden samples gave another best label")
    return difference
