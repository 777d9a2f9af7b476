"""``[data]`` and ``[labels]``: which photos, how they are split, what their classes are called."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.recipe.section import Section


class LabelSpec(Section):
    """``[labels.FOLDER]``: what a class folder is called in answers."""

    id: str = Field(min_length=1)
    """Stable id, for example "cat"."""
    display_name: str = Field(min_length=1)
    """As people read it, for example "Cat"."""


_ANIMALS10 = {
    "cane": "dog",
    "cavallo": "horse",
    "elefante": "elephant",
    "farfalla": "butterfly",
    "gallina": "chicken",
    "gatto": "cat",
    "mucca": "cow",
    "pecora": "sheep",
    "ragno": "spider",
    "scoiattolo": "squirrel",
}


def known_labels(dataset: str | None) -> dict[str, LabelSpec]:
    """What a public data set's class folders are called, where its own names are no answers.

    Animals-10 names them in Italian; English folders are taken too.
    """
    if dataset != "animals10":
        return {}
    return {
        folder: LabelSpec(id=name, display_name=name.capitalize())
        for pair in _ANIMALS10.items()
        for folder, name in ((pair[0], pair[1]), (pair[1], pair[1]))
    }


class DataSpec(Section):
    """``[data]``: which photos, relative to ``--data``, and how they are split."""

    dataset: Literal["cats-and-dogs-filtered", "animals10", "oxford-iiit-pet"] | None = None
    """The public data set to fetch when ``--data`` is not given."""
    layout: Literal["class-folders", "oxford-iiit-pet"] = "class-folders"
    """One folder for each class, or images/ and annotations/ as Oxford-IIIT Pet has them."""
    train: tuple[str, ...] = (".",)
    """Class folders: folders whose photos are trained on."""
    test: tuple[str, ...] = ()
    """Class folders: folders whose photos are scored at the end and decide nothing."""
    test_fraction: float = Field(default=0.0, ge=0.0, lt=0.9)
    """Share of each class set aside as test photos where there is no test folder.
    Oxford-IIIT Pet: 0 takes the official split, more a random one over all its photos."""
    validation_fraction: float = Field(gt=0.0, lt=0.5)
    """Share of each training class held out for choices and calibration."""
    only_listed: bool = False
    """Leave out class folders that ``[labels]`` does not name."""
    cache_side: int = Field(default=256, ge=32)
    """Photos are kept decoded, with at most this short side in pixels."""

    @model_validator(mode="after")
    def _one_test_set(self) -> Self:
        folders = self.layout == "class-folders"
        if folders and bool(self.test) == (self.test_fraction > 0):
            raise ValueError("give either test folders or a test_fraction")
        if not folders and (self.test or self.train != (".",)):
            raise ValueError(f"layout {self.layout} has no train and test folders")
        return self
