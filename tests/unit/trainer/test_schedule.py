import pytest
import torch

from trainer.networks import build, learning_rate_groups
from trainer.optimizer import optimizer_of
from trainer.recipe import FitSpec, NetworkSpec, ResNet9Spec, TorchvisionResNetSpec, Vgg16Spec
from trainer.schedule import Phases, one_cycle

NETWORKS: list[NetworkSpec] = [
    ResNet9Spec(name="resnet9"),
    Vgg16Spec(name="vgg16"),
    TorchvisionResNetSpec(name="resnet18"),
]


def test_one_cycle_is_pytorchs_with_cosine_ends() -> None:
    steps, warmup = 200, 0.3
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    oracle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=steps, pct_start=warmup, final_div_factor=1e5 / 25
    )
    for step in range(steps):
        # PyTorch reaches the peak a step before the share of steps, and the end at the last.
        assert one_cycle(step / steps, warmup) == pytest.approx(oracle.get_last_lr()[0], abs=0.02)
        optimizer.step()
        if step + 1 < steps:
            oracle.step()


def test_the_body_rests_while_the_head_learns() -> None:
    phases = Phases(head_steps=10, total_steps=30, warmup=0.5, head_peak=2.0)
    assert [phases.body(step) for step in range(10)] == [0.0] * 10
    assert max(phases.head(step) for step in range(10)) == phases.head(5) == 2.0
    assert max(phases.head(step) for step in range(10, 30)) == phases.head(20) == 1.0
    assert [phases.head(step) for step in range(10, 30)] == [
        phases.body(step) for step in range(10, 30)
    ]


@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.name)
def test_every_parameter_is_in_one_group_and_later_ones_learn_faster(spec: NetworkSpec) -> None:
    network = build(spec, classes=3)
    shares = [share for _, share in learning_rate_groups(network, 0.1)]
    assert shares[0] == pytest.approx(0.1)
    assert shares == sorted(shares)
    fit = FitSpec(epochs=2, batch_size=8, optimizer="adamw", max_learning_rate=1.0,
                  discrimination=0.1, weight_decay=0.5)  # fmt: skip
    groups = optimizer_of(fit, network).param_groups
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())
    head = {id(p) for module in network.head_modules() for p in module.parameters()}
    for group in groups:
        assert {id(p) in head for p in group["params"]} == {group["part"] == "head"}
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.5}
