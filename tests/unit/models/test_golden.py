import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import GoldenMismatchError, IntegrityError
from models.golden import GoldenSamples, check_golden, load_golden, save_golden

TEMPERATURE = 1.5
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])
SAMPLES = GoldenSamples(torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8).to(torch.uint8), LOGITS)
SCORES = torch.softmax(LOGITS / TEMPERATURE, dim=1)


class Trap:
    """Says so when a pickle of it is opened."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def claiming(shape):
    """An .npz whose arrays say they are of ``shape`` and hold nothing."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inputs.npy", header.getvalue())
        archive.writestr("logits.npy", header.getvalue())
    return buffer.getvalue()


def test_what_is_saved_is_loaded():
    loaded = load_golden(save_golden(SAMPLES))
    assert torch.equal(loaded.inputs, SAMPLES.inputs)
    assert torch.equal(loaded.logits, SAMPLES.logits)


IMAGES = np.zeros((2, 3, 8, 8), np.uint8)
FLOATS = np.zeros((2, 3), np.float32)


def archive_without_arrays():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("inputs.npy", "logits.npy"):
            archive.writestr(name, b"no array")
    return buffer.getvalue()


UNREADABLE = {
    "entries that are no arrays": archive_without_arrays(),
    "empty": b"",
    "text": b"golden",
    "pickle": pickle.dumps(Trap()),
    "one array": npy(IMAGES),
    "cut": save_golden(SAMPLES)[:-5],
    "no logits": npz(inputs=IMAGES),
    "objects": npz(inputs=np.array([Trap()], dtype=object), logits=FLOATS),
    "float images": npz(inputs=IMAGES.astype(np.float32), logits=FLOATS),
    "double logits": npz(inputs=IMAGES, logits=FLOATS.astype(np.float64)),
    "flat images": npz(inputs=IMAGES.reshape(2, -1), logits=FLOATS),
    "flat logits": npz(inputs=IMAGES, logits=FLOATS.reshape(-1)),
    "other counts": npz(inputs=IMAGES[:1], logits=FLOATS),
    "no samples": npz(inputs=IMAGES[:0], logits=FLOATS[:0]),
    "claims 10 terabytes": claiming((10**13,)),
    "claims an overflow": claiming((2**62, 2**62)),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_no_golden_file(data):
    with pytest.raises(IntegrityError, match=r"golden\.npz"):
        load_golden(data)


def test_a_bomb_is_not_inflated(monkeypatch):
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("numpy opened it"))
    images = np.zeros((40, 3, 512, 512), np.uint8)
    with pytest.raises(IntegrityError, match=r"golden\.npz inflates"):
        load_golden(npz(inputs=images, logits=np.zeros((40, 3), np.float32)))


SAVED = save_golden(SAMPLES)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(SAVED) - 1), st.binary(max_size=2)), min_size=1, max_size=4
    )
)
def test_damage_is_an_integrity_error_or_harmless(changes):
    data = bytearray(SAVED)
    for place, content in changes:
        data[place : place + 1] = content
    try:
        loaded = load_golden(bytes(data))
    except IntegrityError:
        return
    assert len(loaded.inputs) == len(loaded.logits)


def run(scores):
    return lambda _: scores


def test_check_gives_the_largest_difference():
    off = SCORES.clone()
    off[1, 2] -= 0.01
    found = check_golden(SAMPLES, run(off), TEMPERATURE, tolerance=0.02)
    assert found == pytest.approx(0.01, abs=1e-6)


def test_check_runs_the_inputs():
    def scores(inputs):
        assert torch.equal(inputs, SAMPLES.inputs)
        return SCORES

    assert check_golden(SAMPLES, scores, TEMPERATURE, tolerance=1e-6) == 0.0


def test_a_score_beyond_the_tolerance():
    off = SCORES.clone()
    off[1, 2] -= 0.03
    with pytest.raises(GoldenMismatchError, match=r"off by 0\.03; 0\.02 is allowed"):
        check_golden(SAMPLES, run(off), TEMPERATURE, tolerance=0.02)


def test_another_temperature_is_a_mismatch():
    with pytest.raises(GoldenMismatchError):
        check_golden(SAMPLES, run(SCORES), 1.0, tolerance=0.01)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("label", [0, 1], ids=["best", "other"])
def test_a_score_that_is_not_finite(value, label):
    off = SCORES.clone()
    off[0, label] = value
    with pytest.raises(GoldenMismatchError):
        check_golden(SAMPLES, run(off), TEMPERATURE, tolerance=0.5)


@pytest.mark.parametrize("scores", [SCORES[:1], SCORES[:, :2], SCORES[0]])
def test_scores_of_another_shape(scores):
    with pytest.raises(GoldenMismatchError, match="shape"):
        check_golden(SAMPLES, run(scores), TEMPERATURE, tolerance=0.5)


def test_another_best_label_within_the_tolerance():
    with pytest.raises(GoldenMismatchError, match="another best label"):
        check_golden(SAMPLES, run(SCORES.flip(1)), TEMPERATURE, tolerance=0.999)
