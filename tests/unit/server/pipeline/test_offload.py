import threading

from server.pipeline.offload import Offload


def test_items_are_worked_on_in_order_and_all_of_them_at_the_end() -> None:
    done: list[int] = []
    offload: Offload[int] = Offload("test", done.append, most_items=100)
    assert all(offload.offer(number) for number in range(50))
    offload.close()
    assert done == list(range(50))


def test_neither_items_nor_their_bytes_pile_up() -> None:
    working, go_on = threading.Event(), threading.Event()

    def stuck(_item: int) -> None:
        working.set()
        go_on.wait(30)

    offload: Offload[int] = Offload("test", stuck, most_items=4, most_bytes=1000)
    assert offload.offer(0, 400)
    assert working.wait(30)
    assert offload.offer(1, 600)
    assert not offload.offer(2, 1)  # what is worked on counts
    assert [offload.offer(number) for number in range(3, 8)] == [True] * 3 + [False] * 2
    go_on.set()
    offload.close()
    assert not offload._bytes


def test_it_says_when_nothing_waits() -> None:
    idle = threading.Event()
    offload: Offload[int] = Offload("test", lambda _: None, most_items=4, on_idle=idle.set)
    assert not idle.is_set()
    offload.offer(1)
    assert idle.wait(30)
    offload.close()
