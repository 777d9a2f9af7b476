"""Labelled photos: fetched, found, split, checked and kept ready.

::

    sources     what --data says                     -> a folder
    downloads   a public data set's name             -> the same, from its owner
    archives    archives                             -> the same, unpacked
    layouts     a folder                             -> photos and their classes
    catalogue   those                                -> training, validation and test photos
    pack        photos                               -> decoded pixels, shared through a file
    images      decoded pixels                       -> what training and scoring take
"""

from trainer.data.catalogue import Catalogue, Photo, catalogue, split_of
from trainer.data.images import (
    EvaluationImages,
    TrainingImages,
    fingerprint,
    read_evaluation,
    read_training,
    without_duplicates,
)
from trainer.data.layouts import class_photos
from trainer.data.pack import Unreadable
from trainer.data.sizes import short_sides
from trainer.data.sources import default_cache, resolve_data

__all__ = [
    "Catalogue",
    "EvaluationImages",
    "Photo",
    "TrainingImages",
    "Unreadable",
    "catalogue",
    "class_photos",
    "default_cache",
    "fingerprint",
    "read_evaluation",
    "read_training",
    "resolve_data",
    "short_sides",
    "split_of",
    "without_duplicates",
]
