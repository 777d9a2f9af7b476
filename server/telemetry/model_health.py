"""How a version's traffic and answers compare with the reference in its manifest.

The measure is the population stability index (PSI): sum over bins of
(p - q) * ln(p / q), where p are the shares now and q the reference's. The rule of thumb in
credit scoring, where it comes from (Siddiqi 2006): below 0.1 nothing, above 0.25 a major shift.

A rule of thumb cannot know how many images stand behind it. Without drift the index of n
images against a reference of m is distributed as (1/n + 1/m) times chi-squared with one degree
of freedom less than there are bins (Yurdakul 2018, "Statistical Properties of Population
Stability Index"): the threshold is the quantile that chance exceeds less than once a year.
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from math import inf, log
from statistics import NormalDist

from models.image_statistics import ImageStatistics
from models.manifest import Histogram, Reference

WINDOW = 1000
# Of one window of one signal, of which there are 2.2 million in a year at 10 images a second:
# benchmarks/drift.py simulates it.
_FALSE_ALARMS = 1e-8
LEAST_IMAGES = 200  # below, chance alone moves the index by more than 0.1
_LEAST_SHARE = 0.05  # of the reference in one bin: emptier ones make the index jump
# Artifacts may lack them.
_LATER_SIGNALS = ("contrast", "saturation", "detail", "novelty", "image_bytes")


class ModelHealth:
    """The last images of one version against its reference.

    Args:
        reference: From the manifest.
        window: How many images to look back on.
        least: Images without which nothing is said.

    Attributes:
        signals: What is followed, by name.
    """

    def __init__(
        self, reference: Reference, window: int = WINDOW, least: int = LEAST_IMAGES
    ) -> None:
        self._least = least
        self.signals = {
            "best_score": Signal(reference.best_score, window, reference.images),
            "brightness": Signal(reference.brightness, window, reference.images),
            "labels": Signal(_by_index(reference.labels), window, reference.images),
        }
        for name in _LATER_SIGNALS:
            histogram: Histogram | None = getattr(reference, name)
            if histogram is not None:
                self.signals[name] = Signal(histogram, window, reference.images)

    @property
    def thresholds(self) -> dict[str, float]:
        """The index of each signal that chance does not explain, of a full window."""
        return {name: signal.threshold for name, signal in self.signals.items()}

    def observe(
        self,
        label: int,
        best_score: float,
        statistics: ImageStatistics,
        novelty: float | None,
        image_bytes: int,
    ) -> list[str]:
        """Take one image in.

        Args:
            label: The best label's position.
            best_score: Its score.
            statistics: Of the input.
            novelty: Its novelty score, where there is one.
            image_bytes: Of the image as it came.

        Returns:
            The signals whose window, full with this image, lies above its threshold. Each image
            belongs to one such window.
        """
        values = {
            "best_score": best_score,
            "labels": label,
            "brightness": statistics.brightness,
            "contrast": statistics.contrast,
            "saturation": statistics.saturation,
            "detail": statistics.detail,
            "novelty": novelty,
            "image_bytes": image_bytes,
        }
        alarms = []
        for name, signal in self.signals.items():
            value = values[name]
            if value is not None and signal.add(value) and signal.index() > signal.threshold:
                alarms.append(name)
        return alarms

    def drift(self) -> dict[str, float]:
        """The index of each signal; empty until enough images came."""
        return {
            name: signal.index()
            for name, signal in self.signals.items()
            if signal.images >= self._least
        }


class Signal:
    """A sliding window over one figure, in bins of the reference.

    Attributes:
        inner_edges: Between the bins, ascending.
        expected: Share of images in each bin.
        threshold: The index of a full window that chance does not explain.
    """

    def __init__(self, reference: Histogram, window: int, images: int) -> None:
        self.inner_edges, self.expected = _merged(reference, images)
        self._bins: deque[int] = deque(maxlen=window)
        self._counts: Counter[int] = Counter()
        self._seen = 0
        quantile = _chi_squared(len(self.expected) - 1, 1 - _FALSE_ALARMS)
        self.threshold = (1 / window + 1 / images) * quantile

    @property
    def images(self) -> int:
        """In the window."""
        return len(self._bins)

    def add(self, value: float) -> bool:
        """Take a value in; whether it is the last of a window."""
        if len(self._bins) == self._bins.maxlen:
            self._counts[self._bins[0]] -= 1  # append pushes it out
        found = bisect_right(self.inner_edges, value)
        self._bins.append(found)
        self._counts[found] += 1
        self._seen += 1
        return self._seen % (self._bins.maxlen or 1) == 0

    def index(self) -> float:
        """The population stability index."""
        # Half an image more in each bin: no bin is empty, so that the logarithm exists.
        total = self.images + len(self.expected) / 2
        shares = [(self._counts[i] + 0.5) / total for i in range(len(self.expected))]
        return sum((p - q) * log(p / q) for p, q in zip(shares, self.expected, strict=True))


def _merged(reference: Histogram, images: int) -> tuple[list[float], list[float]]:
    """Inner edges and shares, neighbours joined until each bin holds its least share."""
    edges: list[float] = []
    shares: list[float] = []
    share = 0.0
    for upper, part in zip(reference.edges[1:], reference.shares, strict=True):
        share += part
        if share >= _LEAST_SHARE:
            edges.append(upper)
            shares.append(share)
            share = 0.0
    if shares:
        shares[-1] += share
    total = 1 + len(shares) / 2 / images
    return edges[:-1], [(part + 0.5 / images) / total for part in shares or [1.0]]


def _chi_squared(degrees: int, probability: float) -> float:
    """The quantile, by Wilson and Hilferty (1931): a few percent too large this far out."""
    if degrees == 0:
        return inf
    spread = 2 / (9 * degrees)
    normal = NormalDist().inv_cdf(probability)
    return float(degrees * (1 - spread + normal * spread**0.5) ** 3)


def _by_index(shares: Sequence[float]) -> Histogram:
    edges = tuple(float(index) - 0.5 for index in range(len(shares) + 1))
    return Histogram(edges=edges, shares=tuple(shares))
