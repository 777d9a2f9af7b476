"""The values that metrics have now, for those who say them in other words."""

from prometheus_client.registry import Collector

ByLabels = dict[tuple[str, ...], float]


def samples(source: Collector, suffix: str) -> ByLabels:
    """Values of a metric's samples that end in ``suffix``, by their labels in order."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in source.collect()
        for sample in metric.samples
        if sample.name.endswith(suffix)
    }
