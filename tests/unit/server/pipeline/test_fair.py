"""Turns between clients, against plain lists."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from server.pipeline.fair import FairQueue

clients = st.sampled_from("abcd")
arrivals = st.lists(clients, max_size=40)


def served(queue: FairQueue[int], most: int) -> list[int]:
    items = queue.in_turn(most, lambda _item: True)
    for item in items:
        queue.serve(item)
    return items


@given(arrivals)
def test_clients_that_are_all_there_take_turns(names: list[str]) -> None:
    queue: FairQueue[int] = FairQueue()
    own: dict[str, list[int]] = defaultdict(list)
    for item, name in enumerate(names):
        queue.add(item, name)
        own[name].append(item)
    rounds = max((len(items) for items in own.values()), default=0)
    expected = [
        item
        for turn in range(rounds)
        for item in sorted(i for o in own.values() for i in o[turn : turn + 1])
    ]
    assert served(queue, len(names)) == expected
    assert len(queue) == 0


@given(st.lists(st.tuples(clients, st.integers(0, 3)), max_size=40), clients)
def test_a_new_item_waits_for_as_many_as_was_said(
    steps: list[tuple[str, int]], newcomer: str
) -> None:
    """Whatever was served before, and however much others sent."""
    queue: FairQueue[int] = FairQueue()
    for item, (name, serve) in enumerate(steps):
        queue.add(item, name)
        served(queue, serve)
    waiting = len(queue)
    ahead = queue.ahead_of(newcomer)
    queue.add(-1, newcomer)
    order = served(queue, waiting + 1)
    # Who was served more than others in the past may be behind by so much, not by the backlog.
    assert order.index(-1) <= ahead + 3
    assert sorted(order) == sorted(set(order))


@given(st.lists(st.tuples(clients, st.integers(0, 5)), max_size=40))
def test_of_each_clients_own_the_earliest_deadline_goes_first(
    people: list[tuple[str, int]],
) -> None:
    """And whose turn it is does not depend on deadlines."""
    urgent, plain = FairQueue[int](), FairQueue[int]()
    for item, (name, deadline) in enumerate(people):
        urgent.add(item, name, deadline)
        plain.add(item, name)
    order = served(urgent, len(people))
    assert [people[item][0] for item in order] == [
        people[item][0] for item in served(plain, len(people))
    ]
    for name in "abcd":
        own = [(people[item][1], item) for item in order if people[item][0] == name]
        assert own == sorted(own)


@given(st.lists(st.tuples(clients, st.integers(0, 5)), max_size=40), clients, st.integers(0, 5))
def test_a_new_items_place_and_whom_it_overtakes_are_foreseen(
    people: list[tuple[str, int]], newcomer: str, deadline: int
) -> None:
    queue = FairQueue[int]()
    for item, (name, ends) in enumerate(people):
        queue.add(item, name, ends)
    ahead, overtaken = queue.ahead_of(newcomer, deadline), queue.overtaken_by(newcomer, deadline)
    queue.add(-1, newcomer, deadline)
    order = served(queue, len(people) + 1)
    assert order.index(-1) <= ahead
    later = [item for item in order[order.index(-1) + 1 :] if people[item][0] == newcomer]
    assert [item for _, item in overtaken] == later
    assert all(order.index(item) <= before for before, item in overtaken)


@given(st.lists(st.tuples(clients, st.integers(0, 3), st.booleans()), max_size=60))
def test_as_many_turns_as_items_whoever_leaves(steps: list[tuple[str, int, bool]]) -> None:
    queue, there = FairQueue[int](), list[int]()
    for item, (name, deadline, leaves) in enumerate(steps):
        queue.add(item, name, deadline)
        there.append(item)
        if leaves:
            queue.remove(there.pop(deadline % len(there)))
    assert sorted(served(queue, len(steps))) == there
    assert len(queue) == 0


def test_a_bulk_job_delays_another_client_by_one_item() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(1000):
        queue.add(f"bulk {number}", "bulk")
    assert served_names(queue, 2) == ["bulk 0", "bulk 1"]
    assert queue.ahead_of("person") == 1
    queue.add("photo", "person")
    assert "photo" in served_names(queue, 2)


def served_names(queue: FairQueue[str], most: int) -> list[str]:
    items = queue.in_turn(most, lambda _item: True)
    for item in items:
        queue.serve(item)
    return items


def test_the_unwanted_keep_their_place() -> None:
    queue: FairQueue[int] = FairQueue()
    for item in range(5):
        queue.add(item, "a")
    assert queue.in_turn(2, lambda item: item % 2 == 1) == [1, 3]
    assert queue.in_turn(9, lambda _item: True) == [0, 1, 2, 3, 4]
    queue.remove(0)
    assert 0 not in queue
    assert served(queue, 9) == [1, 2, 3, 4]


def test_nothing_grows_with_clients_that_came_and_went() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.add(-1, "stays")
    for item in range(2000):
        queue.add(item, f"client {item}")
        queue.remove(item) if item % 2 else queue.serve(item)
    assert len(queue) == 1
    assert len(queue._heap) < 200
    assert len(queue._ends) < 200
    queue.remove(-1)
    assert not queue._heap
    assert not queue._ends
