"""Write what is made of other files: ``python -m deploy.generate``.

deploy/dashboards.py becomes Grafana's JSON; deploy/prometheus/rules.yaml becomes a
PrometheusRule. The results are committed; a test fails when they are behind.
"""

import json
from pathlib import Path

from deploy.dashboards import DASHBOARDS, Dashboard, Panel

DEPLOY = Path(__file__).parent
_HEADER = """\
# Made of rules.yaml by `python -m deploy.generate`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: menagerie
spec:
"""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 2


def generated() -> dict[Path, str]:
    """The content of each generated file."""
    rules = (DEPLOY / "prometheus" / "rules.yaml").read_text(encoding="utf-8")
    groups = rules[rules.index("groups:") :]
    indented = "".join(f"  {line}\n" if line else "\n" for line in groups.splitlines())
    files = {DEPLOY / "prometheus" / "prometheus-rule.yaml": _HEADER + indented}
    for dashboard in DASHBOARDS:
        path = DEPLOY / "grafana" / "dashboards" / f"{dashboard.uid}.json"
        files[path] = json.dumps(_dashboard(dashboard), indent=2) + "\n"
    return files


def _dashboard(dashboard: Dashboard) -> dict[str, object]:
    """Grafana's dashboard model, as its JSON schema names it."""
    source = {"name": "datasource", "type": "datasource", "query": "prometheus"}
    variables = [_variable(name) for name in ("job", *dashboard.variables)]
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["menagerie"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "panels": [_panel(index, panel) for index, panel in enumerate(dashboard.panels)],
    }


def _variable(name: str) -> dict[str, object]:
    metric = "menagerie_ready" if name in ("job", "instance") else "menagerie_model_info"
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(index: int, panel: Panel) -> dict[str, object]:
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {
            "x": index % _COLUMNS * _WIDTH,
            "y": index // _COLUMNS * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expr,
             "legendFormat": legend, "exemplar": True}
            for number, (legend, expr) in enumerate(panel.queries.items())
        ],
    }  # fmt: skip


def main() -> None:
    """Write every generated file."""
    for path, content in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
