"""Learning rates over a run, as multiples of each group's peak."""

from dataclasses import dataclass
from math import cos, pi

_START = 1 / 25  # of the peak: where the one-cycle schedule begins (fastai's and PyTorch's default)
_END = 1e-5  # of the peak: where it ends


def one_cycle(progress: float, warmup: float) -> float:
    """Multiple of the peak at ``progress``, from 0 to 1: a cosine up, then a cosine down.

    Smith and Topin, "Super-Convergence" (arXiv 1708.07120), with fastai's cosine ends.

    Args:
        progress: Share of the steps that are done.
        warmup: Share of the steps in which the rate rises.
    """
    if progress < warmup:
        return _cosine(_START, 1.0, progress / warmup)
    return _cosine(1.0, _END, min(1.0, (progress - warmup) / max(1e-12, 1.0 - warmup)))


@dataclass(frozen=True)
class Phases:
    """Frozen steps first, in which only the head learns, then a cycle for all.

    Attributes:
        head_steps: Steps in which the body is frozen; 0 for none.
        total_steps: All steps, the frozen ones among them.
        warmup: Share of each phase in which the rate rises.
        head_peak: The head's peak in the frozen steps, as a multiple of its later peak.
    """

    head_steps: int
    total_steps: int
    warmup: float
    head_peak: float

    def head(self, step: int) -> float:
        """Multiple of the head's peak at ``step``, counted from 0."""
        if step < self.head_steps:
            return self.head_peak * one_cycle(step / self.head_steps, self.warmup)
        return self._together(step)

    def body(self, step: int) -> float:
        """Multiple of a body group's peak at ``step``, counted from 0."""
        return 0.0 if step < self.head_steps else self._together(step)

    def _together(self, step: int) -> float:
        steps = max(1, self.total_steps - self.head_steps)
        return one_cycle((step - self.head_steps) / steps, self.warmup)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + cos(pi * progress)) / 2
