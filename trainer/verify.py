"""Open a staged artifact as a server would: ``python -m trainer.verify FOLDER``.

Run in a process of its own, so that nothing of the exporter's is in memory.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from models.artifact import Artifact, read_artifact
from models.errors import ModelsError
from models.golden import check_golden
from models.int8 import quantised
from trainer.logits import logits_of


def verify(folder: Path) -> None:
    """Check digests and golden samples: of the module and its twin in fp32, and of int8.

    Raises:
        ArtifactError: The artifact fails.
    """
    artifact = read_artifact(folder, staged=True)
    tolerance = artifact.manifest.golden.score_tolerance_fp32
    _check(artifact, artifact.module(), tolerance)
    program, int8 = artifact.exported_program(), artifact.manifest.int8
    if program is not None:
        _check(artifact, program.module(), tolerance)
        if int8 is not None:
            _check(artifact, quantised(program, int8.ranges), int8.score_tolerance)


def _check(artifact: Artifact, module: nn.Module, tolerance: float) -> None:
    temperature = artifact.manifest.calibration.temperature
    check_golden(
        artifact.golden(),
        lambda images: torch.softmax(logits_of(module, images) / temperature, dim=1),
        temperature,
        tolerance,
    )


if __name__ == "__main__":
    try:
        verify(Path(sys.argv[1]))
    except ModelsError as error:
        sys.exit(str(error))
