from pathlib import Path

import numpy as np
import torch

from trainer.audit.labels import SURE, mislabelled

CLASSES = ("cat", "dog")


def test_wrong_labels_are_named_and_only_the_sure_ones_advised_against() -> None:
    random = np.random.default_rng(0)
    labels = torch.tensor([0, 1] * 50)
    right = torch.tensor(random.uniform(0.8, 0.99, 100), dtype=torch.float32)
    right[[4, 9, 12]] = torch.tensor([0.02, 0.12, 0.06])
    scores = torch.stack([torch.where(labels == c, right, 1 - right) for c in (0, 1)], dim=1)
    paths = [Path(f"{number}.jpg") for number in range(100)]
    findings = mislabelled(scores, labels, paths, CLASSES)
    assert [(f.path.name, f.given, f.suggested, f.exclude) for f in findings] == [
        ("4.jpg", "cat", "dog", True),
        ("12.jpg", "cat", "dog", True),
        ("9.jpg", "dog", "cat", False),
    ]
    assert abs(findings[0].score - 0.02) < 1e-6
    assert findings[0].note == "out-of-fold probability of dog: 98.0%"
    assert 1 - findings[1].score >= SURE
