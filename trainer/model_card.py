"""The model card that travels with an artifact (Mitchell et al., arXiv 1810.03993)."""

from trainer.evaluate import Evaluation
from trainer.recipe import Recipe
from trainer.run import DataRecord

CARD_NAME = "README.md"


def model_card(recipe: Recipe, data: DataRecord, evaluation: Evaluation) -> str:
    """Markdown for people: what it is, how good it is, what it was trained on."""
    side = recipe.input.height
    interval = f"95%: {evaluation.accuracy_low:.2%} to {evaluation.accuracy_high:.2%}"
    return f"""# {recipe.model}

{recipe.description}

| | |
|---|---|
| Recipe | `{recipe.name}` |
| Input | {side} x {side} RGB, central square, `crop_fraction` {recipe.input.crop_fraction:g} |
| Body starts from | {_origin(recipe)} |
| Trained on | {data.train_images} photos; {data.validation_images} held out for calibration |
| Tested on | {evaluation.images} photos that decided nothing |
| Accuracy | {evaluation.accuracy:.2%} ({interval}) |
| Log loss | {evaluation.log_loss:.4f} nats |
| Expected calibration error | {evaluation.expected_calibration_error:.4f} |
| Data fingerprint | `{data.fingerprint}` |

{_class_table(evaluation)}

## Use and limits

For photos like those it was trained on. It knows these classes and no others: of a photo
that shows none of them, it still names one. Scores are calibrated on held-out photos of the
same kind; on other photos they may promise too much.

## Reproduce

`recipe.json` beside this file is the resolved recipe: `python -m trainer fit recipe.toml`
with the same keys, on the photos with the fingerprint above.
"""


def _origin(recipe: Recipe) -> str:
    match recipe.network.weights:
        case "none":
            return "random weights"
        case "imagenet":
            return "ImageNet weights of torchvision"
        case _:
            return "weights of an earlier run"


def _class_table(evaluation: Evaluation) -> str:
    rows = [
        f"| {figures.label} | {figures.images} | {figures.precision:.2%} | {figures.recall:.2%} |"
        for figures in evaluation.classes
    ]
    return "\n".join(["| class | photos | precision | recall |", "|---|---|---|---|", *rows])
