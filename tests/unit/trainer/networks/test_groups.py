from collections import Counter

import pytest

from tests.unit.trainer.networks.specs import SPECS, name_of
from trainer.networks import build, learning_rate_groups
from trainer.recipe import NetworkSpec, Vgg16Spec


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_every_parameter_is_in_one_group(spec: NetworkSpec) -> None:
    network = build(spec, classes=3)
    groups = learning_rate_groups(network, 0.1)
    grouped = Counter(id(p) for module, _ in groups for p in module.parameters())
    assert grouped == Counter(id(p) for p in network.parameters())


def test_shares_rise_geometrically_to_the_heads() -> None:
    network = build(Vgg16Spec(name="vgg16"), classes=3)
    shares = [share for _, share in learning_rate_groups(network, 0.01)]
    body, head = shares[:5], shares[5:]
    assert body[0] == pytest.approx(0.01)
    steps = [after / before for before, after in zip(body, [*body[1:], head[0]], strict=True)]
    assert steps == pytest.approx([100 ** (1 / 5)] * 5)
    assert head == [1.0, 1.0]


def test_no_discrimination_trains_all_alike() -> None:
    network = build(Vgg16Spec(name="vgg16"), classes=3)
    assert {share for _, share in learning_rate_groups(network, 1.0)} == {1.0}
