"""Assemble ``report.html``: one file with everything in it."""

import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from trainer.confidence import check_confidence
from trainer.corruptions import robustness
from trainer.evaluate import risk_coverage
from trainer.history import read_history
from trainer.pages import data_uri, template
from trainer.report.charts import png
from trainer.report.confusion import confusion_figure
from trainer.report.copies import copies_across_split
from trainer.report.curves import curves
from trainer.report.gallery import activation_samples, random_samples, top_losses
from trainer.report.novelty import novelty_figure
from trainer.report.reliability import reliability_figure, risk_coverage_figure
from trainer.score import ScoredRun
from trainer.trust import NoveltyTrial, try_novelty


def write_report(scored: ScoredRun, cache: Path | None = None, others: Path | None = None) -> Path:
    """Write ``report.html`` and ``plots/*.png`` into the run's folder.

    Args:
        scored: A finished run and its answers.
        cache: As for ``fit``.
        others: A folder with photos that are of none of the classes, to try the novelty score on.

    Returns:
        The page's path.

    Raises:
        DataError: That folder has no photo that can be read.
        RunError: The run's folder cannot be written.
    """
    trial = try_novelty(
        scored.module,
        scored.temperature,
        scored.validation,
        scored.test,
        scored.recipe.input,
        others,
    )
    plots = {name: png(figure) for name, figure in _figures(scored, trial).items()}
    page = _render(scored, plots, trial, cache)
    for name, content in plots.items():
        scored.run.write_bytes(f"plots/{name}.png", content)
    scored.run.write("report.html", page)
    return scored.run.folder / "report.html"


def _figures(scored: ScoredRun, trial: NoveltyTrial) -> dict[str, Figure]:
    evaluation = scored.evaluation()
    history_path = scored.run.folder / "metrics.csv"
    history = read_history(history_path) if history_path.is_file() else []
    scores = scored.test.scores(scored.temperature)
    return {
        **curves(history),
        "confusion": confusion_figure(evaluation.confusion, scored.names),
        "reliability": reliability_figure(evaluation.reliability_before, evaluation.reliability),
        "risk-coverage": risk_coverage_figure(
            *risk_coverage(scores, scored.test.images.labels), scored.calibration.abstain
        ),
        "novelty": novelty_figure(trial.ordinary, trial.strange, trial.choice.novelty.threshold),
    }


def _render(
    scored: ScoredRun, plots: Mapping[str, bytes], trial: NoveltyTrial, cache: Path | None
) -> str:
    environment_file = scored.run.folder / "environment.json"
    return template("trainer.report", "page.html.j2").render(
        recipe=scored.recipe,
        recipe_text=scored.recipe.model_dump_json(indent=2),
        environment=json.loads(environment_file.read_text(encoding="utf-8")),
        data=scored.data,
        copies=copies_across_split(scored, cache),
        labels=scored.labels,
        evaluation=scored.evaluation(),
        parameters=sum(parameter.numel() for parameter in scored.module.parameters()),
        validation_images=len(scored.validation.images.paths),
        plots={name: data_uri("png", content) for name, content in plots.items()},
        top_losses=top_losses(scored),
        samples=random_samples(scored),
        maps=activation_samples(scored),
        calibration=scored.calibration,
        confidence=check_confidence(
            scored.calibration, scored.test.logits, scored.test.images.labels
        ),
        trial=trial,
        corruptions=robustness(
            scored.module,
            scored.test.images.inputs,
            scored.test.images.labels,
            scored.temperature,
        ),
    )
