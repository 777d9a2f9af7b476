"""Find what is wrong with a data set before a network learns it.

::

    files         photos -> unreadable and tiny ones, class imbalance
    duplicates    photos -> exact and near copies, across the split, under other labels
    out_of_fold   photos -> what networks say that were not trained on them
    labels        those  -> likely wrong labels
    page          all findings -> audit.html, audit.csv, exclude.csv
"""

from trainer.audit.run import audit

__all__ = ["audit"]
