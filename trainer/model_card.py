"""The model card that travels with an artifact (Mitchell et al., arXiv 1810.03993)."""

from trainer.evaluate import Evaluation
from trainer.recipe import Recipe
from trainer.run import DataRecord
from trainer.trust import TrustFigures

CARD_NAME = "README.md"
_TRUST_TITLE = "## How far to trust it"


def model_card(
    recipe: Recipe, data: DataRecord, evaluation: Evaluation, trust: TrustFigures
) -> str:
    """Markdown for people: what it is, how good it is, what it was trained on."""
    return with_trust(_card(recipe, data, evaluation), evaluation, trust)


def with_trust(card: str, evaluation: Evaluation, trust: TrustFigures) -> str:
    """A card with these figures of trust, in the place of earlier ones."""
    before, _, rest = card.partition(_TRUST_TITLE)
    _, found, after = rest.partition("\n## ")
    if not found:  # a card of an earlier release
        before, found, after = before.partition("\n## ")
        before += "\n"
    section = "\n\n".join([_TRUST_TITLE, _confidence(evaluation, trust), _conditions(trust)])
    return f"{before}{section}\n{found}{after}"


def _confidence(evaluation: Evaluation, trust: TrustFigures) -> str:
    confidence, novelty = trust.confidence, trust.novelty
    lines = [
        f"- Calibration error {evaluation.expected_calibration_error_before:.4f} before and"
        f" {evaluation.expected_calibration_error:.4f} after temperature scaling.",
        f"- Leaving the least sure tenth to a person lowers the error from {confidence.error:.2%}"
        f" to {confidence.error_of_surest:.2%}; by the abstain threshold, {confidence.answered:.1%}"
        f" are answered and {confidence.error_answered:.2%} of those wrongly (95%:"
        f" {confidence.error_answered_low:.2%} to {confidence.error_answered_high:.2%}).",
    ]
    lines += [
        f"- Prediction sets asked to hold the true label in {sets.asked:.0%} of cases did so in"
        f" {sets.coverage:.1%} (95%: {sets.coverage_low:.1%} to {sets.coverage_high:.1%});"
        f" {sets.mean_size:.2f} labels on average, {sets.empty:.1%} empty."
        for sets in confidence.sets
    ]
    if novelty is not None:
        lines.append(
            f"- Photos of other things: AUROC {novelty.auroc:.3f} (95%: {novelty.auroc_low:.3f} to"
            f" {novelty.auroc_high:.3f}) on {novelty.others} of them; {novelty.detected:.1%} are"
            f" flagged as novel, and {novelty.flagged:.1%} of ordinary photos."
        )
    return "\n".join(lines)


def _conditions(trust: TrustFigures) -> str:
    rows = [
        f"| {one.name} | {one.strength} | {one.accuracy:.1%} ({one.accuracy_low:.1%} to"
        f" {one.accuracy_high:.1%}) | {one.mean_score:.1%} |"
        for one in trust.corruptions
    ]
    head = ["| condition | strength | accuracy (95%) | mean best score |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _card(recipe: Recipe, data: DataRecord, evaluation: Evaluation) -> str:
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

For photos like those it was trained on, where a wrong label does little harm or a person looks
at what is uncertain or novel. It knows these classes and no others: of a photo that shows none
of them, it still names one. Scores are calibrated on held-out photos of the same kind; on other
photos they may promise too much, as the conditions above show. Not for decisions about people.

## Data

{_sources(recipe)}

## Reproduce

`python -m trainer fit recipe.json --data DIR`, with the `recipe.json` beside this file, on the
photos with the fingerprint above{_needed(recipe)}.
"""


def _sources(recipe: Recipe) -> str:
    spec = recipe.data
    train, test = ", ".join(f"`{one}`" for one in spec.train), spec.test
    held_out = ", ".join(f"`{one}`" for one in test) if test else f"{spec.test_fraction:.0%} of it"
    name = f"The public set {spec.dataset}: " if spec.dataset else ""
    return f"""{name}{train} to learn from, of which {spec.validation_fraction:.0%} for choices and
calibration; {held_out} for the figures above. What these photos lack, such as other cameras, places
or breeds, the model has never seen."""


def _origin(recipe: Recipe) -> str:
    match recipe.network.weights:
        case "none":
            return "random weights"
        case "imagenet":
            return "ImageNet weights of torchvision"
        case _:
            return "weights of an earlier run"


def _needed(recipe: Recipe) -> str:
    """What else it takes: the recipe names weights of an earlier run, and does not hold them."""
    if recipe.network.weights in ("none", "imagenet"):
        return ""
    return f", with `--weights` naming where `{recipe.network.weights}` lies"


def _class_table(evaluation: Evaluation) -> str:
    rows = [
        f"| {figures.label} | {figures.images} | {figures.precision:.2%} | {figures.recall:.2%} |"
        for figures in evaluation.classes
    ]
    return "\n".join(["| class | photos | precision | recall |", "|---|---|---|---|", *rows])
