"""Novelty scores: how unlike the training images an image is. Larger is more novel.

The one implementation, for the trainer's thresholds and the server alike. Imports torch.
"""

import io

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.errors import IntegrityError
from models.inflation import check_inflation
from models.manifest import NOVELTY_NAME, NoveltyMethod


def pooled(features: Tensor) -> Tensor:
    """The last feature map, [b, c, h', w'], to its unit-length mean, float32 [b, c]."""
    return functional.normalize(features.float().mean(dim=(2, 3)), dim=1)


def feature_distance(means: Tensor, centroids: Tensor) -> Tensor:
    """Cosine distance to the nearest class, 0 to 2.

    Args:
        means: Of :func:`pooled`, float32 [b, c].
        centroids: Each class's mean of those, float32 [classes, c].

    Returns:
        float32 [b].
    """
    return 1.0 - (means @ functional.normalize(centroids, dim=1).T).amax(dim=1)


def energy(logits: Tensor, temperature: float) -> Tensor:
    """Liu et al., "Energy-based Out-of-distribution Detection" (arXiv 2010.03759), equation 3.

    Args:
        logits: float32 [b, classes].
        temperature: The manifest's.

    Returns:
        float32 [b].
    """
    return -temperature * torch.logsumexp(logits / temperature, dim=1)


class NoveltyScore:
    """A model's novelty score.

    Args:
        method: Which.
        temperature: From logits to scores.
        centroids: Each class's mean features, float32 [classes, c], on the device; the energy
            needs none.
    """

    def __init__(self, method: NoveltyMethod, temperature: float, centroids: Tensor | None) -> None:
        self._method = method
        self._temperature = temperature
        self._centroids = centroids

    def __call__(self, features: Tensor, logits: Tensor) -> Tensor:
        """Score a batch.

        Args:
            features: The last feature map, [b, c, h, w].
            logits: [b, classes].

        Returns:
            float32 [b], on the same device.
        """
        if self._method is NoveltyMethod.ENERGY or self._centroids is None:
            return energy(logits.float(), self._temperature)
        return feature_distance(pooled(features), self._centroids)


def save_centroids(centroids: Tensor) -> bytes:
    """Serialise float32 [classes, c] as an .npz without pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, centroids=centroids.float().numpy())
    return buffer.getvalue()


def load_centroids(data: bytes, classes: int) -> Tensor:
    """Read what :func:`save_centroids` wrote.

    Raises:
        IntegrityError: Not such a file, or not of so many classes.
    """
    check_inflation(data, NOVELTY_NAME)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            # An entry that is no array comes as it lies there, as bytes.
            centroids = np.asanyarray(arrays["centroids"])
    except Exception as error:  # numpy, zipfile and zlib raise many kinds on damage
        raise IntegrityError(f"{NOVELTY_NAME} cannot be read") from error
    fits = centroids.ndim == 2 and len(centroids) == classes  # noqa: PLR2004
    if centroids.dtype != np.float32 or not fits or not np.isfinite(centroids).all():
        raise IntegrityError(f"{NOVELTY_NAME} does not hold a float32 vector for each label")
    return torch.from_numpy(centroids)
