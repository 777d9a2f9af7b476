"""The model card that travels with an artifact (Mitchell et al., arXiv 1810.03993)."""

from models.manifest import Metrics
from trainer.recipe import Recipe
from trainer.run import DataRecord

CARD_NAME = "README.md"


def model_card(recipe: Recipe, data: DataRecord, metrics: Metrics) -> str:
    """Markdown for people: what it is, how good it is, what it was trained on."""
    side = recipe.input.height
    interval = f"95%: {metrics.accuracy_low:.2%} to {metrics.accuracy_high:.2%}"
    return f"""# {recipe.model}

{recipe.description}

| | |
|---|---|
| Recipe | `{recipe.name}` |
| Classes | {", ".join(data.classes)} |
| Input | {side} x {side} RGB, central square, `crop_fraction` {recipe.input.crop_fraction:g} |
| Trained on | {data.train_images} photos; {data.validation_images} held out for calibration |
| Tested on | {metrics.images} photos that decided nothing |
| Accuracy | {metrics.accuracy:.2%} ({interval}) |
| Log loss | {metrics.log_loss:.4f} nats |
| Expected calibration error | {metrics.expected_calibration_error:.4f} |

It knows these classes and no others: of a photo that shows neither, it still names one.
Scores are calibrated on photos like those it was trained on.
"""
