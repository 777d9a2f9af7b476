"""How checkpoints reach the disk, whole and on it before they get their name, and come back."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from trainer.beside import file_beside
from trainer.errors import RunError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `WholeCheckpoints` wrote, on the CPU.

    Raises:
        RunError: There is none, or it is damaged.
    """
    if not path.is_file():
        raise RunError(f"{path} is missing")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage raises OSError, RuntimeError, UnpicklingError ...
        raise RunError(f"{path} is damaged, or no checkpoint") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise RunError(f"{path} is no checkpoint")
    return content


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint before, which stays until this one is on the disk.

    The library's own goes through the system's temporary folder, and is copied where that is
    another file system: a run killed then would have no checkpoint to resume from.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401, ARG002 - the library's signature
    ) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            OSError: The folder cannot be written.
        """
        with file_beside(Path(path)) as file:
            torch.save(checkpoint, file)
