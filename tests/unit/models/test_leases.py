"""Who uses which version in a folder that processes share."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

from models.leases import Leases

ONE, TWO = ("pets", 1), ("pets", 2)


def test_what_is_held_is_in_use_for_everybody_until_it_is_given_up(tmp_path: Path) -> None:
    ours, theirs = Leases(tmp_path), Leases(tmp_path)
    ours.hold({ONE})
    for leases in (ours, theirs):
        with leases.unused(ONE) as unused:
            assert not unused
        with leases.unused(TWO) as unused:
            assert unused
    ours.hold({TWO})
    with theirs.unused(ONE) as unused:
        assert unused
    ours.close()
    with theirs.unused(TWO) as unused:
        assert unused


def _hold_and_wait(folder: Path, held: Connection) -> None:
    leases = Leases(folder)
    leases.hold({ONE})
    held.send("held")
    held.recv()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_hold_and_wait, args=(tmp_path, theirs), daemon=True)
    process.start()
    assert ours.poll(60)
    with Leases(tmp_path).unused(ONE) as unused:
        assert not unused
    process.kill()
    process.join()
    with Leases(tmp_path).unused(ONE) as unused:
        assert unused


def test_holding_and_touching_say_when_it_was_used(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    assert leases.used_at(ONE) == 0.0
    leases.touch(ONE)
    os.utime(tmp_path / "pets@1", (5.0, 5.0))
    assert leases.used_at(ONE) == 5.0
    leases.hold({ONE})
    assert leases.used_at(ONE) > 5.0
