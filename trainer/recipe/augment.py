"""``[augment]``: what happens to training photos only."""

from pydantic import Field

from trainer.recipe.section import Section, Share


class AugmentSpec(Section):
    """``[augment]``: what happens to training photos only."""

    crop_side: int | None = Field(default=None, ge=8)
    """Side of the training crops in pixels; the input's where it is not given."""
    crop_scale: tuple[Share, Share] = (0.35, 1.0)
    """Random-resized crop: area range as a share of the photo."""
    flip: bool = True
    """Mirror half of the photos."""
    trivial: bool = True
    """TrivialAugmentWide (arXiv 2103.10158)."""
    erasing: Share = 0.0
    """Probability of random erasing (arXiv 1708.04896)."""
    mixup_alpha: float = Field(default=0.0, ge=0.0)
    """MixUp's beta parameter (arXiv 1710.09412); 0 turns it off."""
    cutmix_alpha: float = Field(default=0.0, ge=0.0)
    """CutMix's beta parameter (arXiv 1905.04899); 0 turns it off."""
    clean_epochs: int = Field(default=0, ge=0)
    """Last epochs, in which photos are not mixed."""
