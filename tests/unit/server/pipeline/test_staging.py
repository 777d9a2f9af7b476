"""Buffers in turn, and the batch sizes that are prepared."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.pipeline.staging import Ring, bucket_for, buckets


def test_a_slot_is_one_threads_alone_and_comes_back_whatever_happens() -> None:
    ring, users, most = Ring(["a", "b"]), [0, 0], [0]
    guard = threading.Lock()

    def use(number: int) -> None:
        with ring.taken() as slot:
            at = "ab".index(slot)
            with guard:
                users[at] += 1
                most[0] = max(most[0], users[at])
            threading.Event().wait(0.0005)
            with guard:
                users[at] -= 1
            if number % 3 == 0:
                raise KeyError(number)

    with ThreadPoolExecutor(6) as pool:
        endings = [pool.submit(use, number).exception(timeout=60) for number in range(60)]
    assert most == [1]
    assert sum(isinstance(ending, KeyError) for ending in endings) == 20
    assert ring.free == 2


def test_the_slot_that_has_rested_longest_comes_first() -> None:
    ring = Ring([0, 1, 2])
    order = []
    for _ in range(5):
        with ring.taken() as slot:
            order.append(slot)
    assert order == [0, 1, 2, 0, 1]


def test_who_finds_no_slot_waits_for_one() -> None:
    ring = Ring([0])
    with ThreadPoolExecutor(1) as pool:
        with ring.taken():
            waiting = pool.submit(lambda: ring.taken().__enter__())
            assert not waiting.done()
        assert waiting.result(timeout=60) == 0
    with pytest.raises(ValueError, match="at least one"):
        Ring([])


@given(st.integers(1, 1024), st.data())
def test_every_batch_fits_a_bucket_that_is_hardly_larger(largest: int, data: st.DataObject) -> None:
    sizes = buckets(largest)
    assert sizes == sorted(set(sizes))
    assert (sizes[0], sizes[-1]) == (1, largest)
    assert len(sizes) <= 8 + 4 * max(0, largest.bit_length() - 3)
    count = data.draw(st.integers(1, largest))
    size = bucket_for(sizes, count)
    assert count <= size <= max(count, 1.25 * count)


def test_what_fits_no_bucket_is_an_error() -> None:
    with pytest.raises(ValueError, match="no bucket holds 9"):
        bucket_for([1, 8], 9)
    with pytest.raises(ValueError, match="must hold an image"):
        buckets(0)
