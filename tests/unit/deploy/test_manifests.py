"""Kubernetes accepts the manifests, and the programs in them accept their arguments."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from torch.distributed.run import get_args_parser

from trainer.__main__ import app

FOLDER = Path(__file__).parents[3] / "deploy" / "k8s"
KUBERNETES = "1.33"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.name)
def test_manifests_follow_their_schemas(path: Path) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_validator_sees_a_wrong_key() -> None:
    document = documents(FOLDER / "train-job.yaml")[-1]
    document["spec"]["completion"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="completion"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_training_jobs_command_is_one_that_torchrun_and_the_trainer_take() -> None:
    job = documents(FOLDER / "train-job.yaml")[-1]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["torchrun"]
    launched = get_args_parser().parse_args(container["args"])
    assert (launched.module, launched.training_script) == (True, "trainer")
    assert launched.nnodes == str(job["spec"]["completions"])
    command, *arguments = launched.training_script_args
    fit = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    options = fit.make_context(command, list(arguments)).params
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(options[name]) for name in ("data", "runs", "cache")} <= mounts
