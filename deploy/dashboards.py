"""The Grafana dashboards as code: what each panel asks Prometheus.

``python -m deploy.generate`` writes them to deploy/grafana/dashboards as Grafana's JSON. The
tests run every query against a Prometheus that scrapes a real server.
"""

from dataclasses import dataclass

_MODEL = 'job=~"$job",model=~"$model"'
_REPLICA = 'job=~"$job",instance=~"$instance"'
_BAD = 'code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|DATA_LOSS"'
_RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """A graph.

    Attributes:
        title: What is asked.
        queries: PromQL by legend.
        unit: Grafana's name of the unit.
        optional: Whether it may be empty on a healthy CPU server.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    optional: bool = False


@dataclass(frozen=True)
class Dashboard:
    """A page of panels, two abreast.

    Attributes:
        uid: Its stable name.
        title: Its heading.
        description: Whom it serves.
        variables: Labels to choose by, beside job.
        panels: From the top.
    """

    uid: str
    title: str
    description: str
    variables: tuple[str, ...]
    panels: tuple[Panel, ...]


def _quantiles(step: str, labels: str, by: str = "") -> dict[str, str]:
    return {
        f"p{quantile * 100:g}": f"histogram_quantile({quantile}, sum by (le{by}) "
        f"(rate(menagerie_{step}_seconds_bucket{{{labels}}}{_RATE})))"
        for quantile in (0.5, 0.95, 0.99)
    }


def _mean(metric: str, labels: str, by: str) -> str:
    return (
        f"sum by ({by}) (rate({metric}_sum{{{labels}}}{_RATE}))"
        f" / sum by ({by}) (rate({metric}_count{{{labels}}}{_RATE}))"
    )


def _rate(metric: str, labels: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}{_RATE}))"


_STEPS = Panel(
    "Where the time goes (mean)",
    {
        step: _mean(f"menagerie_{step}_seconds", _MODEL, "model")
        for step in ("decode", "queue", "engine")
    },
    "s",
)

OVERVIEW = Dashboard(
    "menagerie-overview",
    "Menagerie: overview",
    "How it fares, at a glance: traffic, errors, latency, saturation.",
    ("model",),
    (
        Panel("Requests a second", {"{{model}} {{code}}": _rate(
            "menagerie_requests_total", _MODEL, "model, code")}, "reqps"),
        Panel("Share that fails by the server's fault", {"{{model}}": (
            f"(sum by (model) (rate(menagerie_requests_total{{{_MODEL},{_BAD}}}{_RATE}))"
            f" or 0 * sum by (model) (rate(menagerie_requests_total{{{_MODEL}}}{_RATE})))"
            f" / sum by (model) (rate(menagerie_requests_total{{{_MODEL}}}{_RATE}))")},
            "percentunit"),
        Panel("Time to the answer", _quantiles("request", _MODEL), "s"),
        _STEPS,
        Panel("How busy the engines are", {"{{instance}}": (
            'sum by (instance) (rate(menagerie_engine_seconds_sum{job=~"$job"}' + _RATE + "))"
            ' / sum by (instance) (menagerie_lanes{job=~"$job"})')}, "percentunit"),
        Panel("Images that wait", {"{{instance}} {{queue}}": (
            'sum by (instance, queue) (menagerie_queue_depth{job=~"$job"})')}),
        Panel("Replicas that take requests", {
            "ready": 'sum(menagerie_ready{job=~"$job"})',
            "up": 'sum(up{job=~"$job"})'}),
        Panel("Refused or given up, by reason", {"{{reason}}": _rate(
            "menagerie_dropped_total", _MODEL, "reason")}, "reqps", optional=True),
        Panel("Error budget burn (1 h)", {
            "{{model}} errors": "menagerie:request_errors:ratio_rate1h / 0.001",
            "{{model}} slow": "menagerie:request_slow:ratio_rate1h / 0.01"}),
        Panel("Alerts", {"{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"})'},
            optional=True),
    ),
)  # fmt: skip

MODEL = Dashboard(
    "menagerie-model",
    "Menagerie: one model",
    "What a model is asked, how it answers, and whether the photos still look as they did.",
    ("model",),
    (
        Panel("Requests a second, by version", {"{{version}} {{code}}": _rate(
            "menagerie_requests_total", _MODEL, "version, code")}, "reqps"),
        Panel("Time to the answer, p99 by version", {"{{version}}": (
            "histogram_quantile(0.99, sum by (le, version) "
            f"(rate(menagerie_request_seconds_bucket{{{_MODEL}}}{_RATE})))")}, "s"),
        Panel("Images in a batch (mean)", {"{{version}}": _mean(
            "menagerie_batch_size", _MODEL, "version")}),
        Panel("Why batches close", {"{{reason}}": _rate(
            "menagerie_batches_total", _MODEL, "reason")}, "ops"),
        Panel("Engine seconds per image", {"{{version}}": (
            f"sum by (version) (rate(menagerie_engine_seconds_sum{{{_MODEL}}}{_RATE}))"
            f" / sum by (version) (rate(menagerie_batch_size_sum{{{_MODEL}}}{_RATE}))")}, "s"),
        Panel("Real over predicted batch time (mean)", {"{{version}}": _mean(
            "menagerie_batch_cost_ratio", _MODEL, "version")}),
        Panel("Best score", {f"p{quantile}": (
            f"histogram_quantile(0.{quantile}, sum by (le) "
            f"(rate(menagerie_best_score_bucket{{{_MODEL}}}{_RATE})))")
            for quantile in (10, 50)}, "percentunit"),
        Panel("Answers by label", {"{{label}}": _rate(
            "menagerie_best_labels_total", _MODEL, "label")}, "ops"),
        Panel("Brightness of the photos (median)", {"{{version}}": (
            "histogram_quantile(0.5, sum by (le, version) "
            f"(rate(menagerie_brightness_bucket{{{_MODEL}}}{_RATE})))")}),
        Panel("Size of the photos (median)", {"{{version}}": (
            "histogram_quantile(0.5, sum by (le, version) "
            f"(rate(menagerie_image_bytes_bucket{{{_MODEL}}}{_RATE})))")}, "bytes"),
        Panel("Unlike the reference (PSI over its threshold; 1 is a ticket)", {
            "{{version}} {{signal}}": (
                f"max by (version, signal) (menagerie_drift_psi{{{_MODEL}}}"
                f" / menagerie_drift_threshold_psi{{{_MODEL}}})")}),
        Panel("Answers that abstain", {"{{version}}": (
            f"sum by (version) (rate(menagerie_abstained_total{{{_MODEL}}}{_RATE}))"
            f" / sum by (version) (rate(menagerie_best_score_count{{{_MODEL}}}{_RATE}))")},
            "percentunit"),
    ),
)  # fmt: skip

REPLICA = Dashboard(
    "menagerie-replica",
    "Menagerie: one replica",
    "What one process uses, and what holds it back.",
    ("instance",),
    (
        Panel("Requests in flight", {"{{instance}}": (
            f"menagerie_requests_in_flight{{{_REPLICA}}}")}),
        Panel("Images that wait", {"{{queue}} {{model}}": (
            f"menagerie_queue_depth{{{_REPLICA}}}")}),
        Panel("CPU, in cores", {
            "{{instance}}": f"rate(process_cpu_seconds_total{{{_REPLICA}}}{_RATE})"}),
        Panel("Share of periods held back by the CPU limit", {"{{instance}}": (
            f"rate(menagerie_cgroup_cpu_throttled_periods_total{{{_REPLICA}}}{_RATE})"
            f" / rate(menagerie_cgroup_cpu_periods_total{{{_REPLICA}}}{_RATE})")},
            "percentunit", optional=True),
        Panel("Memory", {
            "resident": f"process_resident_memory_bytes{{{_REPLICA}}}",
            "limit": f"menagerie_cgroup_memory_limit_bytes{{{_REPLICA}}}"}, "bytes", optional=True),
        Panel("Engine's share of the time", {"{{instance}}": (
            f"sum by (instance) (rate(menagerie_engine_seconds_sum{{{_REPLICA}}}{_RATE}))"
            f" / sum by (instance) (menagerie_lanes{{{_REPLICA}}})")}, "percentunit"),
        Panel("Open files", {"{{instance}}": f"process_open_fds{{{_REPLICA}}}"}),
        Panel("Log lines dropped", {"{{instance}}": (
            f"rate(menagerie_log_lines_dropped_total{{{_REPLICA}}}{_RATE})")}),
        Panel("GPU in use", {"{{gpu}}": f"menagerie_gpu_utilization_ratio{{{_REPLICA}}}"},
            "percentunit", optional=True),
        Panel("GPU memory", {"{{gpu}}": f"menagerie_gpu_memory_used_bytes{{{_REPLICA}}}"},
            "bytes", optional=True),
        Panel("GPU temperature", {"{{gpu}}": f"menagerie_gpu_temperature_celsius{{{_REPLICA}}}"},
            "celsius", optional=True),
    ),
)  # fmt: skip

ROLLOUT = Dashboard(
    "menagerie-rollout",
    "Menagerie: rollout",
    "Old and new side by side while replicas or versions change.",
    ("model",),
    (
        Panel("Versions by state", {"{{model}} {{version}} {{state}}": (
            f"sum by (model, version, state) (menagerie_model_state{{{_MODEL}}}) > 0")}),
        Panel("Replicas by age", {"{{instance}}": (
            'time() - process_start_time_seconds{job=~"$job"}')}, "s"),
        Panel("Traffic by version", {"{{model}} {{version}}": _rate(
            "menagerie_requests_total", _MODEL, "model, version")}, "reqps"),
        Panel("Traffic by replica", {"{{instance}}": _rate(
            "menagerie_requests_total", _MODEL, "instance")}, "reqps"),
        Panel("Errors by version", {"{{version}} {{code}}": _rate(
            "menagerie_requests_total", f'{_MODEL},code!="OK"', "version, code")}, "reqps"),
        Panel("Time to the answer, p99 by version", {"{{version}}": (
            "histogram_quantile(0.99, sum by (le, version) "
            f"(rate(menagerie_request_seconds_bucket{{{_MODEL}}}{_RATE})))")}, "s"),
        Panel("Time to load", {"{{instance}} {{model}} {{version}}": (
            f"menagerie_model_load_seconds{{{_MODEL}}}")}, "s"),
        Panel("What runs where", {"{{instance}} {{model}} {{version}} {{dtype}}": (
            f"menagerie_model_info{{{_MODEL}}}")}),
    ),
)  # fmt: skip

DASHBOARDS = (OVERVIEW, MODEL, REPLICA, ROLLOUT)
