"""The command line as a whole."""

from tests.imports import loaded_by


def test_help_and_a_supervisor_do_not_wait_for_torch() -> None:
    assert not loaded_by("import server.__main__") & {"torch", "numpy", "grpc"}
