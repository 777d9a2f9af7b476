"""Class-activation maps for those images of a batch that ask for one.

The features are those of the batch's own forward pass; only the head's gradient is extra.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.class_activation import CamMethod, Head, maps_of_features
from server.pipeline.engine import Activation, Explain, Work


def explain(
    module: Head, features: Tensor, scores: Tensor, batch: Sequence[Work]
) -> list[Activation | None]:
    """A map for each image that asks for one, in the order of the batch.

    Args:
        module: What computed the features; its ``head`` can be differentiated.
        features: [b, c, h', w'], on the device.
        scores: Calibrated, float32 [b, classes].
        batch: What is wanted.
    """
    drawn: list[Activation | None] = [None] * len(batch)
    wishes = {index: work.explain for index, work in enumerate(batch) if work.explain is not None}
    for method in CamMethod:
        wanted = {index: wish for index, wish in wishes.items() if wish.method is method}
        if wanted:
            labels = _labels(wanted, scores)
            # Gathering copies, which a batch that is wanted whole can do without.
            some = features if len(wanted) == len(batch) else features[list(wanted)]
            targets = torch.tensor(labels, device=features.device)
            maps = maps_of_features(module, some, targets, method).cpu()
            for index, label, one in zip(wanted, labels, maps, strict=True):
                drawn[index] = Activation(label, float(scores[index, label]), one)
    return drawn


def _labels(wanted: dict[int, Explain], scores: Tensor) -> list[int]:
    best = scores.argmax(dim=1).tolist()
    return [best[index] if wish.label is None else wish.label for index, wish in wanted.items()]
