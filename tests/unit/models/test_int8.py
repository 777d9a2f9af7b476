"""int8: nearly the same answers, of layers whose weights really are int8."""

import pytest
import torch
from torch import Tensor, nn

from models.int8 import activation_ranges, quantised

SIDE = 32


class Small(nn.Module):
    """A residual block with all that is folded and shared."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.one = nn.Conv2d(8, 8, 3, padding=1)
        self.other = nn.Conv2d(8, 8, 1, bias=False)
        self.after = nn.BatchNorm2d(8, affine=False)
        self.head = nn.Linear(8, 5)
        for norm in (self.norm, self.after):
            norm.running_mean = torch.randn(8)
            norm.running_var = torch.rand(8) + 0.5
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(images.float() / 255 - 0.5)))
        x = torch.relu(self.one(x) + self.after(self.other(x)) + x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def program() -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=16)
    return torch.export.export(Small().eval(), (images(2),), dynamic_shapes=({0: batch},))


def images(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def ranges() -> dict[str, tuple[float, float]]:
    return activation_ranges(program(), images(8).split(4))


def test_ranges_are_of_every_layers_input_and_hold_zero() -> None:
    found = ranges()
    assert set(found) == {"stem.weight", "one.weight", "other.weight", "head.weight"}
    assert found["stem.weight"] == pytest.approx((-0.5, 0.5), abs=0.01)
    assert found["one.weight"] == found["other.weight"]  # they take the same
    assert all(low <= 0.0 <= high for low, high in found.values())
    assert found["one.weight"][0] == 0.0  # after a relu


def test_a_range_is_the_mean_of_the_batches() -> None:
    black, white = torch.zeros_like(images(1)), torch.full_like(images(1), 255)
    low, high = activation_ranges(program(), [black, white])["stem.weight"]
    assert (low, high) == (0.0, 0.0)  # -0.5 and 0.5, of either
    low, high = activation_ranges(program(), [black, black])["stem.weight"]
    assert (low, high) == (-0.5, 0.0)


def test_it_answers_nearly_the_same_for_any_batch() -> None:
    whole, small = program().module(), quantised(program(), ranges())
    for count in (1, 5):
        expected, found = whole(images(count)), small(images(count))
        assert found.shape == expected.shape
        error = ((found - expected).norm() / expected.norm()).detach()
        assert 0 < float(error) < 0.03


def test_weights_are_int8_and_normalisations_are_folded() -> None:
    module = quantised(program(), ranges())
    held = {name: value for name, value in module.named_buffers() if value.dtype == torch.int8}
    assert len(held) == 4
    assert all(int(weight.abs().max()) == 127 for weight in held.values())
    targets = [node.target for node in module.graph.nodes]
    assert torch.ops.aten.batch_norm.default not in targets
    # Two layers that take the same value share what is made of it.
    assert targets.count(torch.ops.quantized_decomposed.quantize_per_tensor.default) == 3


def test_folding_alone_changes_nothing() -> None:
    found, expected = quantised(program(), {}), program().module()
    torch.testing.assert_close(found(images(3)), expected(images(3)), atol=1e-5, rtol=1e-5)


def test_a_layer_without_a_range_stays_as_it_is() -> None:
    some = {name: ends for name, ends in ranges().items() if name != "head.weight"}
    module = quantised(program(), some)
    held = [value for value in module.buffers() if value.dtype == torch.int8]
    assert len(held) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"no.weight": (0.0, 1.0)}, {"stem.weight": (0.5, 1.0)}, {"stem.weight": (-1.0, 1e999)}],
)
def test_ranges_of_another_program_are_refused(wrong: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"layer|range"):
        quantised(program(), wrong)


class Twice(nn.Module):
    """One convolution used twice, each time with a normalisation of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(2))
        for norm in self.norms:
            norm.running_var = torch.rand(3) * 4 + 0.1

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() / 255 - 0.5
        for norm in self.norms:
            x = norm(self.layer(x))
        return x.mean(dim=(2, 3))


def test_a_weight_that_is_shared_is_not_folded() -> None:
    program = torch.export.export(Twice().eval(), (images(2),))
    found = quantised(program, {})
    torch.testing.assert_close(found(images(2)), program.module()(images(2)))
    assert torch.ops.aten.batch_norm.default in [node.target for node in found.graph.nodes]
