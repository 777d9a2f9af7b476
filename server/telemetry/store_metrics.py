"""Metrics of a model repository in a store; docs/reference/metrics.md says what each is for."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class StoreMetrics:
    """Registered only where there is a store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reachable = Gauge(
            "menagerie_store_reachable",
            "1 where the last look at the store succeeded.",
            registry=registry,
        )
        self.seen = Gauge(
            "menagerie_store_last_look_timestamp_seconds",
            "When a look at the store last succeeded.",
            registry=registry,
        )
        self.versions = Counter(
            "menagerie_store_versions",
            "Versions by what became of them.",
            ("event",),
            registry=registry,
        )
        self.cache_bytes = Gauge(
            "menagerie_store_cache_bytes", "Size of the versions kept here.", registry=registry
        )
        self.cache_limit_bytes = Gauge(
            "menagerie_store_cache_limit_bytes", "What they may grow to.", registry=registry
        )
