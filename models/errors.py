"""Errors of the artifact contract.

::

    ModelsError
    ├── ArtifactError            an artifact cannot be trusted or read
    │   ├── IntegrityError       a file is missing, unlisted, linked, or not the bytes it was
    │   ├── ManifestError        the manifest is malformed or from the future
    │   └── GoldenMismatchError  the module does not reproduce its golden samples
    ├── RepositoryError          the repository has no such model or version, or cannot be written
    │   └── StoreError           the store it lies in cannot be reached, or lists what is no listing
    └── ImageError               an image is refused; the message is fit for its sender
        ├── UnsupportedImageError  not a JPEG, PNG or WebP that we decode
        ├── ImageLimitError        larger or costlier to decode than allowed
        └── CorruptImageError      claims to be an image and does not decode
"""


class ModelsError(Exception):
    """Root of the errors of this package."""


class ArtifactError(ModelsError):
    """An artifact cannot be trusted or read."""


class IntegrityError(ArtifactError):
    """A file is missing, unlisted, a link, or differs from its digest."""


class ManifestError(ArtifactError):
    """The manifest is malformed, inconsistent, or of an unknown schema version."""


class GoldenMismatchError(ArtifactError):
    """The module does not reproduce the scores of its golden samples."""


class RepositoryError(ModelsError):
    """The repository has no such model or version, or cannot be written."""


class StoreError(RepositoryError):
    """The store cannot be reached, or what it says cannot be followed. Fit for logs."""


class ImageError(ModelsError):
    """An image is refused. The message names the reason and quotes nothing from the image."""


class UnsupportedImageError(ImageError):
    """The bytes are not an image format that is accepted."""


class ImageLimitError(ImageError):
    """The image would cost more to decode than its limits allow."""


class CorruptImageError(ImageError):
    """The bytes claim an accepted format and do not decode."""
