"""Open a staged artifact as a server would: ``python -m trainer.verify FOLDER``.

Run in a process of its own, so that nothing of the exporter's is in memory.
"""

import sys
from pathlib import Path

import torch

from models.artifact import read_artifact
from models.errors import ModelsError
from models.golden import check_golden
from trainer.export import logits_of


def verify(folder: Path) -> float:
    """Check digests and golden samples in fp32.

    Returns:
        The largest difference of a score.

    Raises:
        ArtifactError: The artifact fails.
    """
    artifact = read_artifact(folder, staged=True)
    module = artifact.module()
    temperature = artifact.manifest.calibration.temperature
    return check_golden(
        artifact.golden(),
        lambda images: torch.softmax(logits_of(module, images) / temperature, dim=1),
        temperature,
        artifact.manifest.golden.score_tolerance_fp32,
    )


if __name__ == "__main__":
    try:
        verify(Path(sys.argv[1]))
    except ModelsError as error:
        sys.exit(str(error))
