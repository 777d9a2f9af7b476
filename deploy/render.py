"""Draw the dashboards without Grafana: ``python -m deploy.render PROMETHEUS_URL FOLDER``.

Runs the same queries as Grafana would, over the last minutes, and draws one picture per dashboard.
Grafana draws them better; this shows that the queries have something to show.
"""

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, PercentFormatter
from PIL import Image

from deploy.dashboards import DASHBOARDS, Dashboard, Panel

_COLUMNS = 2
_POINTS = 120
_MOST_LEGENDS = 8
_FORMATS = {
    "percentunit": PercentFormatter(1, decimals=1),
    "s": EngFormatter("s"),
    "bytes": EngFormatter("B"),
    "reqps": FuncFormatter(lambda value, _: f"{value:g}/s"),
    "ops": FuncFormatter(lambda value, _: f"{value:g}/s"),
    "celsius": FuncFormatter(lambda value, _: f"{value:g} °C"),
}


def series(url: str, expr: str, minutes: float, window: str) -> list[dict]:
    """A query's series over the last ``minutes``, with every variable at its "All"."""
    filled = re.sub(r"\$(job|model|instance)\b", ".*", expr).replace("$__rate_interval", window)
    end = time.time()
    parameters = {
        "query": filled,
        "start": str(end - minutes * 60),
        "end": str(end),
        "step": str(max(1.0, minutes * 60 / _POINTS)),
    }
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{query}", timeout=60) as page:  # noqa: S310
        found: list[dict] = json.loads(page.read())["data"]["result"]
    return found


def draw(axes: Axes, panel: Panel, url: str, minutes: float, window: str) -> None:
    """One panel."""
    lines = 0
    for legend, expr in panel.queries.items():
        for found in series(url, expr, minutes, window):
            name = re.sub(r"\{\{(\w+)\}\}", lambda m, f=found: f["metric"].get(m[1], ""), legend)
            points = [(float(at), float(value)) for at, value in found["values"]]
            axes.plot(
                [at - time.time() for at, _ in points],
                [value if math.isfinite(value) else math.nan for _, value in points],
                linewidth=1.4,
                label=name.strip() if lines < _MOST_LEGENDS else None,
            )
            lines += 1
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)  # room for the legend
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    axes.yaxis.set_major_formatter(_FORMATS.get(panel.unit, EngFormatter()))
    if lines:
        axes.legend(fontsize=7, frameon=False, loc="upper left", ncols=2)
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="0.5")


def render(dashboard: Dashboard, url: str, minutes: float, window: str) -> Image.Image:
    """A dashboard as a picture."""
    rows = math.ceil(len(dashboard.panels) / _COLUMNS)
    figure = Figure(figsize=(13, 2.6 * rows + 0.6), dpi=90, layout="constrained")
    figure.suptitle(f"{dashboard.title}. {dashboard.description}", fontsize=12)
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for panel, axes in zip(dashboard.panels, grid, strict=False):
        draw(axes, panel, url, minutes, window)
    for axes in list(grid):
        axes.set_axis_off()
    file = BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file)


def main() -> None:
    """Draw every dashboard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of Prometheus, http://HOST:PORT")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--window", default="1m", help="for rates: four scrapes or more")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        picture = render(dashboard, arguments.url.rstrip("/"), arguments.minutes, arguments.window)
        picture.convert("RGB").save(arguments.folder / f"{dashboard.uid}.webp", quality=80)


if __name__ == "__main__":
    main()
