"""torch.export in one place: opening an artifact's twin."""

import io

import torch

from models.errors import IntegrityError
from models.inflation import check_inflation
from models.manifest import TWIN_NAME


def open_twin(data: bytes) -> torch.export.ExportedProgram:
    """Open the bytes of a twin, on the CPU.

    Call this only with bytes whose digest has been verified. The program's ``module()`` takes
    and gives what the scripted module's ``forward`` does.

    Raises:
        IntegrityError: They are no exported program or inflate beyond reason.
    """
    check_inflation(data, TWIN_NAME)
    try:
        return torch.export.load(io.BytesIO(data))
    except Exception as error:  # damage raises many kinds
        raise IntegrityError(f"{TWIN_NAME} is not an exported program") from error
