import os
import time
from pathlib import Path

import pytest

from trainer.beside import file_beside, folder_beside


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with pytest.raises(TypeError), file_beside(tmp_path / "pack") as file:
        file.writelines([b"half", 0])  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []
    with file_beside(tmp_path / "pack") as file:
        file.write(b"whole")
        assert not (tmp_path / "pack").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]
    assert (tmp_path / "pack").read_bytes() == b"whole"


def test_a_folder_of_another_process_stays(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "photos") as part:
        (part / "late").touch()
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "first").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["photos", "first"]


def test_what_killed_runs_left_behind_goes_after_a_day(tmp_path: Path) -> None:
    for name, age_s in (("old", 90_000), ("fresh", 600)):
        folder, file = tmp_path / f"{name}-folder.part", tmp_path / f"{name}-file.part"
        folder.mkdir()
        (folder / "photo.jpg").touch()
        file.touch()
        for path in (folder, file):
            os.utime(path, (time.time() - age_s,) * 2)
    with file_beside(tmp_path / "pack") as file:
        file.write(b"whole")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["fresh-file.part", "fresh-folder.part", "pack"]
