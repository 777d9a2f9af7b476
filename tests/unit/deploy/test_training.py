"""The two ways to train on several hosts fit Kubernetes, Kubeflow, torchrun and the trainer."""

from argparse import Namespace
from copy import deepcopy

import kubernetes_validate
import pytest
import typer
from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob
from kubeflow_trainer_api.models.trainer_v1alpha1_training_runtime import (
    TrainerV1alpha1TrainingRuntime,
)
from torch.distributed.run import get_args_parser

from tests.unit.deploy.test_manifests import FOLDER, KUBERNETES, Document, documents
from trainer.__main__ import app

SERVICE, JOB = documents(FOLDER / "train-job.yaml")
RUNTIME, TRAIN_JOB = documents(FOLDER / "train-kubeflow.yaml")
(REPLICATED,) = RUNTIME["spec"]["template"]["spec"]["replicatedJobs"]
(JOB_CONTAINER,) = JOB["spec"]["template"]["spec"]["containers"]
(NODE,) = REPLICATED["template"]["spec"]["template"]["spec"]["containers"]


def launched(command: list[str], arguments: list[str], container: Document) -> Namespace:
    """What torchrun makes of its arguments, once the trainer takes what it is left."""
    assert command == ["torchrun"]
    found = get_args_parser().parse_args(arguments)
    assert (found.module, found.training_script) == (True, "trainer")
    name, *rest = found.training_script_args
    fit = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = fit.make_context(name, list(rest)).params
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(options[key]) for key in ("data", "runs", "cache")} <= mounts
    return found


def known_to_kubeflow(document: Document) -> bool:
    """Whether Kubeflow's own types hold every key of the document."""
    kinds = {"TrainJob": TrainerV1alpha1TrainJob, "TrainingRuntime": TrainerV1alpha1TrainingRuntime}
    return kinds[document["kind"]].from_dict(document).to_dict() == document


def test_the_job_follows_its_schema() -> None:
    for document in (SERVICE, JOB):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_jobs_command_is_one_that_torchrun_and_the_trainer_take() -> None:
    found = launched(JOB_CONTAINER["command"], JOB_CONTAINER["args"], JOB_CONTAINER)
    assert found.nnodes == str(JOB["spec"]["completions"])


@pytest.mark.parametrize("document", [RUNTIME, TRAIN_JOB], ids=lambda found: found["kind"])
def test_kubeflow_knows_every_key(document: Document) -> None:
    assert known_to_kubeflow(document)
    wrong = deepcopy(document)
    wrong["spec"]["numNodes"] = 2  # of the trainer, or of the policy
    assert not known_to_kubeflow(wrong)


def test_kubeflow_finds_the_node_whose_variables_it_sets() -> None:
    labels = REPLICATED["template"]["metadata"]["labels"]
    assert labels["trainer.kubeflow.org/trainjob-ancestor-step"] == "trainer"
    assert (REPLICATED["name"], NODE["name"]) == ("node", "node")
    reference = TRAIN_JOB["spec"]["runtimeRef"]
    assert reference == {"kind": RUNTIME["kind"], "name": RUNTIME["metadata"]["name"]}


def test_the_train_jobs_command_leaves_torchruns_options_to_kubeflow() -> None:
    trainer = TRAIN_JOB["spec"]["trainer"]
    found = launched(NODE["command"], trainer["args"], NODE)
    defaults = get_args_parser().parse_args(["script"])
    for option in ("nnodes", "nproc_per_node", "node_rank", "master_addr", "rdzv_endpoint"):
        assert getattr(found, option) == getattr(defaults, option)
    gpus = trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"]
    assert gpus == str(trainer["numProcPerNode"])


def test_pods_are_the_same_in_both_ways() -> None:
    """Kubernetes checks the one, so it accepts the other as Kubeflow fills it in."""
    pod = deepcopy(REPLICATED["template"]["spec"]["template"]["spec"])
    (container,) = pod["containers"]
    container |= {
        "name": JOB_CONTAINER["name"],
        "args": JOB_CONTAINER["args"],
        "resources": JOB_CONTAINER["resources"],
    }
    assert pod | {"subdomain": SERVICE["metadata"]["name"]} == JOB["spec"]["template"]["spec"]
