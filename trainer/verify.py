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
from trainer.logits import logits_of


def verify(folder: Path) -> None:
    """Check digests and golden samples in fp32, of the module and of its twin.

    Raises:
        ArtifactError: The artifact fails.
    """
    artifact = read_artifact(folder, staged=True)
    _check(artifact, artifact.module())
    program = artifact.exported_program()
    if program is not None:
        _check(artifact, program.module())


def _check(artifact: Artifact, module: nn.Module) -> None:
    temperature = artifact.manifest.calibration.temperature
    check_golden(
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
