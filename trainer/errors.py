"""Errors a person running the trainer can mend.

::

    TrainerError
    ├── RecipeError     the recipe is missing, malformed or has an unknown key
    ├── DataError       the data folder cannot be trained on
    ├── WeightsError    the weights to start from cannot be had or do not fit
    ├── RunError        the run folder is not one, or its training failed
    └── PublishError    the artifact did not pass its checks
"""


class TrainerError(Exception):
    """Root of the errors of this package."""


class RecipeError(TrainerError):
    """The recipe is missing, malformed or has an unknown key."""


class DataError(TrainerError):
    """The data folder cannot be trained on."""


class WeightsError(TrainerError):
    """The weights to start from cannot be had or do not fit."""


class RunError(TrainerError):
    """The run folder is not one, or its training failed."""


class PublishError(TrainerError):
    """The artifact did not pass its checks."""
