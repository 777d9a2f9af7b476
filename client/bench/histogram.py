"""Latencies as an HDR histogram: bounded memory, three digits exact at any percentile."""

from collections.abc import Iterator

from hdrh.histogram import HdrHistogram

_MICROSECONDS = 1e6
_LONGEST_US = 3_600_000_000  # an hour
_DIGITS = 3


class Histogram:
    """How often each latency occurred. Latencies are in seconds, kept in microseconds.

    What is shorter than a microsecond counts as one, what is longer than an hour as an hour.
    """

    def __init__(self) -> None:
        self._hdr = HdrHistogram(1, _LONGEST_US, _DIGITS)

    def __getstate__(self) -> bytes:
        state: bytes = self._hdr.encode()
        return state

    def __setstate__(self, state: bytes) -> None:
        self.__init__()  # type: ignore[misc]
        self._hdr.decode_and_add(state)

    def __len__(self) -> int:
        """How many latencies were recorded."""
        return int(self._hdr.get_total_count())

    def record(self, latency_s: float, count: int = 1) -> None:
        """Count a latency, in seconds, `count` times."""
        microseconds = round(latency_s * _MICROSECONDS)
        self._hdr.record_value(min(max(microseconds, 1), _LONGEST_US), count)

    def add(self, other: "Histogram") -> None:
        """Count what `other` counted."""
        self._hdr.add(other._hdr)

    def percentile_s(self, percent: float) -> float:
        """Return what `percent` of 100 latencies do not exceed, in seconds; 0 without any."""
        return float(self._hdr.get_value_at_percentile(percent)) / _MICROSECONDS if self else 0.0

    @property
    def mean_s(self) -> float:
        """The mean in seconds; 0 without any."""
        return float(self._hdr.get_mean_value()) / _MICROSECONDS if self else 0.0

    @property
    def max_s(self) -> float:
        """The longest latency in seconds; 0 without any."""
        return self.percentile_s(100)

    def counts(self) -> Iterator[tuple[float, int]]:
        """Yield the latencies that occurred, in seconds, ascending, with how often."""
        for item in self._hdr.get_recorded_iterator():
            yield item.value_iterated_to / _MICROSECONDS, item.count_at_value_iterated_to

    def encoded(self) -> str:
        """Return it in HdrHistogram's own format (V2, compressed, base64), in microseconds."""
        return self.__getstate__().decode("ascii")
