"""The recipe: everything that decides a training run, from one TOML file.

Every key is documented here, a file for each section: ``data`` and ``labels``, ``network``,
``augment``, ``fit``; ``recipe`` puts them together and ``read`` reads them. An unknown key is an
error. Imports only the artifact contract and pydantic.
"""

from trainer.recipe.augment import AugmentSpec
from trainer.recipe.data import DataSpec, LabelSpec
from trainer.recipe.fit import FitSpec
from trainer.recipe.network import (
    NetworkSpec,
    ResNet9Spec,
    SmallResNetSpec,
    TorchvisionResNetSpec,
    Vgg16Spec,
)
from trainer.recipe.read import bundled_recipes, load_recipe, override, parse_recipe
from trainer.recipe.recipe import Recipe

__all__ = [
    "AugmentSpec",
    "DataSpec",
    "FitSpec",
    "LabelSpec",
    "NetworkSpec",
    "Recipe",
    "ResNet9Spec",
    "SmallResNetSpec",
    "TorchvisionResNetSpec",
    "Vgg16Spec",
    "bundled_recipes",
    "load_recipe",
    "override",
    "parse_recipe",
]
