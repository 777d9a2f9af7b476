from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.trainer.photos import write_recipe
from trainer.fit import fit
from trainer.progress import Progress
from trainer.recipe import load_recipe


def test_a_terminal_shows_figures_rate_and_remaining_time(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    monkeypatch.setattr("trainer.loop.Progress", lambda: Progress(console))
    recipe = load_recipe(str(write_recipe(tmp_path / "tiny.toml")), ["fit.epochs=2"])
    fit(recipe, photos, tmp_path / "runs")
    shown = screen.getvalue()
    for part in ("epoch 2/2", "18/18", "loss ", "val accuracy ", "lr ", "eta"):
        assert part in shown
