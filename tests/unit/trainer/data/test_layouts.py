from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.trainer.photos import write_photos
from trainer.data import catalogue, read_evaluation, read_training
from trainer.errors import DataError
from trainer.recipe import DataSpec, LabelSpec, load_recipe

ALL = DataSpec(test_fraction=0.25, validation_fraction=0.25)
LABELS = {
    "cane": LabelSpec(id="dog", display_name="Dog"),
    "dog": LabelSpec(id="dog", display_name="Dog"),
    "gatto": LabelSpec(id="cat", display_name="Cat"),
}


def folders(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name / "deep").mkdir(parents=True)
        for number in range(count):
            place = root / name / ("deep" if number % 2 else "")
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(place / f"{number}.png")
    return root


def test_folders_with_one_id_are_one_class(tmp_path: Path) -> None:
    root = folders(tmp_path, cane=6, dog=6, gatto=8)
    photos = catalogue(root, ALL, 0, labels=LABELS)
    assert photos.classes == ("cat", "dog")
    for part, per_class in ((photos.test, (2, 3)), (photos.validation, (2, 2))):
        assert Counter(photo.label for photo in part) == dict(enumerate(per_class))
    assert len(photos.train) + len(photos.validation) + len(photos.test) == 20


def test_folders_that_are_not_listed_can_be_left_out(tmp_path: Path) -> None:
    root = folders(tmp_path, cane=6, gatto=8, horse=5)
    assert catalogue(root, ALL, 0, labels=LABELS).classes == ("cat", "dog", "horse")
    listed = ALL.model_copy(update={"only_listed": True})
    assert catalogue(root, listed, 0, labels=LABELS).classes == ("cat", "dog")
    other = folders(tmp_path / "other", car=6, bus=6)
    with pytest.raises(DataError, match="the recipe takes the folders cane, dog, gatto"):
        catalogue(other, listed, 0, labels=LABELS)


def test_photos_of_a_kind_that_is_not_read_are_found_and_listed(tmp_path: Path) -> None:
    root = folders(tmp_path, cane=6, gatto=8)
    with Image.open(root / "cane" / "0.png") as image:
        image.save(root / "cane" / "more.BMP")
        image.convert("RGB").save(root / "cane" / "more.jfif", format="JPEG")
    (root / "cane" / "notes.txt").write_text("no photo")
    parts = catalogue(root, ALL, 0)
    photos = (*parts.train, *parts.validation, *parts.test)
    assert len(photos) == 16
    assert [item.path.name for item in read_training(photos, 32).unreadable] == ["more.BMP"]


def test_the_test_photos_do_not_depend_on_the_seed(tmp_path: Path) -> None:
    root = folders(tmp_path, cane=20, gatto=20)
    first, second = catalogue(root, ALL, 0), catalogue(root, ALL, 1)
    assert first.test == second.test
    assert set(first.validation) != set(second.validation)


def test_excluded_photos_are_neither_trained_on_nor_validated(tmp_path: Path) -> None:
    root = folders(tmp_path / "photos", cane=8, gatto=8)
    everything = catalogue(root, ALL, 0)
    gone = [everything.train[0].path, everything.validation[0].path]
    listing = tmp_path / "exclude.csv"
    listing.write_text(f"problem,path\nx,{gone[0].relative_to(root)}\ny,{gone[1]}\n")
    left = catalogue(root, ALL, 0, exclude=listing)
    assert {photo.path for photo in (*left.train, *left.validation)} == {
        photo.path for photo in (*everything.train, *everything.validation)
    } - set(gone)
    assert left.test == everything.test
    listing.write_text("path\nnowhere.jpg\n")
    with pytest.raises(DataError, match=r"names 'nowhere\.jpg', which is no photo"):
        catalogue(root, ALL, 0, exclude=listing)
    listing.write_text("name\nnowhere.jpg\n")
    with pytest.raises(DataError, match="no CSV file with a column 'path'"):
        catalogue(root, ALL, 0, exclude=listing)


def test_a_class_that_only_the_test_folder_knows_is_an_error(tmp_path: Path) -> None:
    root = write_photos(tmp_path, per_class=4)
    (root / "test" / "red").rename(root / "test" / "green")
    spec = DataSpec(train=("train",), test=("test",), validation_fraction=0.25)
    with pytest.raises(DataError, match="class 'green' has test photos and none to train on"):
        catalogue(root, spec, 0)
    (root / "test" / "green").rename(root / "elsewhere")
    with pytest.raises(DataError, match="class 'red' has no test photo"):
        catalogue(root, spec, 0)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for part, numbers in (("trainval", range(1, 9)), ("test", range(9, 13))):
        rows = []
        for breed, species in (("Abyssinian", 1), ("american_bulldog", 2)):
            for number in numbers:
                picture = Image.fromarray(np.full((30, 40, 3), number, np.uint8))
                # Some files of the real set are not what their names say.
                picture.save(
                    tmp_path / f"images/{breed}_{number}.jpg", "PNG" if number == 9 else None
                )
                rows.append(f"{breed}_{number} {species} {species} 1")
        (tmp_path / "annotations" / f"{part}.txt").write_text("# header\n" + "\n".join(rows) + "\n")
    return tmp_path


def test_the_pets_official_split(pets: Path) -> None:
    recipe = load_recipe("pets-resnet34")
    photos = catalogue(pets, recipe.data, 0)
    assert photos.classes == ("Abyssinian", "american_bulldog")
    assert len(photos.test) == 8
    assert {photo.path.stem.rpartition("_")[2] for photo in photos.test} == {"9", "10", "11", "12"}
    images = read_evaluation(photos.test, recipe.input)
    assert images.unreadable == []
    assert images.inputs.shape == (8, 3, recipe.input.height, recipe.input.width)


def test_the_pets_random_split_mixes_both_lists(pets: Path) -> None:
    recipe = load_recipe("pets-resnet34", ["data.test_fraction=0.5"])
    photos = catalogue(pets, recipe.data, 0)
    assert len(photos.test) == 12
    assert {"9", "1"} & {photo.path.stem.rpartition("_")[2] for photo in photos.test}


def test_a_listed_pet_that_is_missing_is_named(pets: Path) -> None:
    (pets / "images" / "Abyssinian_3.jpg").unlink()
    with pytest.raises(DataError, match=r"Abyssinian_3\.jpg is listed in annotations/ and missing"):
        catalogue(pets, load_recipe("pets-resnet34").data, 0)
    (pets / "annotations" / "test.txt").unlink()
    with pytest.raises(DataError, match=r"test\.txt cannot be read"):
        catalogue(pets, load_recipe("pets-resnet34").data, 0)
