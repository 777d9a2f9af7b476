"""The command line as a whole."""

from pathlib import Path

import pytest

from tests.imports import loaded_by
from trainer import __main__ as trainer
from trainer.cli import publishing
from trainer.errors import RunError


def test_help_does_not_wait_for_torch() -> None:
    assert not loaded_by("import trainer.__main__") & {"torch", "numpy"}


@pytest.mark.parametrize(
    ("missing", "extra"), [("pytorch_lightning.callbacks", "trainer"), ("cleanlab", "audit")]
)
def test_a_library_of_an_extra_that_is_missing_is_told(
    missing: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def app() -> None:
        raise ModuleNotFoundError(name=missing)

    monkeypatch.setattr(trainer, "app", app)
    assert trainer.main() == 1
    room = missing.partition(".")[0]
    assert (
        capsys.readouterr().err == f"error: {room} is missing: pip install 'menagerie[{extra}]'\n"
    )


def test_a_module_of_ours_that_is_missing_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def app() -> None:
        raise ModuleNotFoundError(name="trainer.gone")

    monkeypatch.setattr(trainer, "app", app)
    with pytest.raises(ModuleNotFoundError):
        trainer.main()


def test_a_repository_is_made_where_its_parent_is(tmp_path: Path) -> None:
    made = publishing._make
    made(tmp_path / "mine")
    made(tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()
    for wrong in ("no/mine", "file"):
        (tmp_path / "file").touch()
        with pytest.raises(RunError, match=f"--repository .*{wrong}"):
            made(tmp_path / wrong)
