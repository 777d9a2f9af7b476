"""The page a person looks at after a run: plots, galleries, tables; one file, no network.

::

    charts        a figure in the page's style -> PNG
    curves, confusion, reliability             -> figures
    gallery                                    -> thumbnails and class-activation maps
    copies        the split                    -> photos on both sides of it
    page          all of them                  -> report.html and plots/*.png
"""

from trainer.report.page import write_report

__all__ = ["write_report"]
