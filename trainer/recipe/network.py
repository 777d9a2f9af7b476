"""``[network]``: the architecture, and what its body starts from."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.recipe.section import Section


class _NetworkSpec(Section):
    weights: str = Field(default="none", min_length=1)
    """What the body starts from: "imagenet", a local file, or "none"; ``--weights`` overrides."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the head's inputs dropped in training."""


class SmallResNetSpec(_NetworkSpec):
    """``[network]`` name "resnet": ours, of any depth and width."""

    name: Literal["resnet"]
    """Which network."""
    depths: tuple[int, ...] = Field(min_length=1)
    """Residual blocks per stage."""
    widths: tuple[int, ...] = Field(min_length=1)
    """Channels per stage."""

    @model_validator(mode="after")
    def _stages(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise ValueError("depths and widths must have one entry per stage")
        return self


class ResNet9Spec(_NetworkSpec):
    """``[network]`` name "resnet9": for small images, 6.6 million parameters at ten classes."""

    name: Literal["resnet9"]
    """Which network."""


class Vgg16Spec(_NetworkSpec):
    """``[network]`` name "vgg16": its convolutional base, average pooling, two dense layers."""

    name: Literal["vgg16"]
    """Which network."""
    hidden: int = Field(default=512, ge=1)
    """Units of the dense layer before the last."""


class TorchvisionResNetSpec(_NetworkSpec):
    """``[network]`` name "resnet18", "resnet34" or "resnet50", as in torchvision."""

    name: Literal["resnet18", "resnet34", "resnet50"]
    """Which network."""
    imagenet: Literal["IMAGENET1K_V1", "IMAGENET1K_V2"] = "IMAGENET1K_V1"
    """Which of torchvision's ImageNet weights "imagenet" means; V2 is of resnet50 only."""

    @model_validator(mode="after")
    def _published(self) -> Self:
        if self.imagenet == "IMAGENET1K_V2" and self.name != "resnet50":
            raise ValueError(f"torchvision has no IMAGENET1K_V2 weights for {self.name}")
        return self


NetworkSpec = Annotated[
    SmallResNetSpec | ResNet9Spec | Vgg16Spec | TorchvisionResNetSpec,
    Field(discriminator="name"),
]
"""``[network]``: the architecture."""
