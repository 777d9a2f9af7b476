"""What takes long to import, for `tests.programs`."""

import logging

_somebody = logging.NullHandler()
logging.getLogger().addHandler(_somebody)  # else Lightning adds one, which programs do not have

import pytorch_lightning  # noqa: E402
import torchmetrics  # noqa: E402

import server.app  # noqa: E402

logging.getLogger().removeHandler(_somebody)

__all__ = ["pytorch_lightning", "server", "torchmetrics"]
