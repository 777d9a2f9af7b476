import gc
import io
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import torchscript
from models.errors import IntegrityError
from tests.artifacts import TINY_LABELS, TinyModel, coloured


@pytest.fixture(scope="module")
def scripted():
    return torchscript.script(TinyModel().eval())


@pytest.fixture(scope="module")
def archive(scripted):
    return torchscript.save(scripted)


def images():
    return torch.stack([coloured(label) for label in TINY_LABELS])


def test_a_saved_module_answers_as_the_eager_one(archive):
    with torch.inference_mode():
        expected = TinyModel().eval()(images())
        module = torchscript.load(archive)
        assert torch.equal(module(images()), expected)
        assert torch.equal(module.head(module.features(images())), expected)
    assert expected.argmax(dim=1).tolist() == [0, 1, 2]


def test_loaded_modules_are_in_eval_mode(archive):
    assert not torchscript.load(archive).training


@pytest.mark.parametrize("keep", [(), ("features", "head")])
def test_freezing_keeps_the_answers_and_what_it_is_told_to(archive, keep):
    module = torchscript.load(archive)
    frozen = torchscript.freeze(module, keep)
    with torch.inference_mode():
        assert torch.equal(frozen(images()), module(images()))
    assert [hasattr(frozen, name) for name in ("features", "head")] == [bool(keep)] * 2


def test_features_and_logits_come_from_one_graph_that_holds_the_weights(archive):
    frozen = torchscript.freeze_both(torchscript.load(archive))
    module = torchscript.load(archive)
    with torch.inference_mode():
        features, logits = frozen.features_and_logits(images())
        assert torch.equal(logits, module(images()))
        assert torch.equal(frozen.head(features), logits)
        assert torch.equal(features, module.features(images()))
    assert weights_in(frozen.features_and_logits.graph) == 9
    assert weights_in(frozen.forward.graph) == 0


def weights_in(graph):
    constants = graph.findAllNodes("prim::Constant")
    return sum(
        node.t("value").numel()
        for node in constants
        if node.hasAttribute("value") and node.kindOf("value") == "t"
    )


def test_what_was_loaded_frozen_and_run_leaves_with_its_module(archive):
    """200 KiB stayed of each, however small, when its wrapper was scripted."""

    def load_and_run():
        frozen = torchscript.freeze_both(torchscript.load(archive))
        with torch.inference_mode():
            for _ in range(3):
                frozen.features_and_logits(images())

    for _ in range(10):
        load_and_run()
    before = resident_kib()
    for _ in range(40):
        load_and_run()
    assert resident_kib() - before < 40 * 100


def resident_kib():
    gc.collect()
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def test_no_deprecation_warning_leaves_the_module(archive):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torchscript.freeze(torchscript.load(archive))
        torchscript.save(torchscript.script(TinyModel().eval()))
    assert seen == []


def saved_weights():
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(3)}, buffer)
    return buffer.getvalue()


def zipped(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


NO_TORCHSCRIPT = {
    "empty": lambda: b"",
    "text": lambda: b"a model",
    "weights": saved_weights,
    "zip of text": lambda: zipped("a.txt", b"text"),
    "zip of an empty program": lambda: zipped("model/constants.pkl", b""),
}


@pytest.mark.parametrize("make", NO_TORCHSCRIPT.values(), ids=NO_TORCHSCRIPT.keys())
def test_what_is_no_torchscript(make):
    with pytest.raises(IntegrityError, match=r"model\.pt is not"):
        torchscript.load(make())


def test_a_bomb_is_refused_before_torch_opens_it(monkeypatch):
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("torch opened it"))
    with pytest.raises(IntegrityError, match="inflates"):
        torchscript.load(zipped("model/data/0", bytes(64 * 2**20)))


@settings(max_examples=60)
@given(draw=st.data())
def test_a_damaged_archive_loads_or_is_refused(archive, draw):
    data = bytearray(archive)
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    if draw.draw(st.integers(0, 3)) == 0:
        del data[draw.draw(st.integers(0, len(data) - 1)) :]
    try:
        module = torchscript.load(bytes(data))
    except IntegrityError:
        return
    assert isinstance(module, torch.jit.ScriptModule)
