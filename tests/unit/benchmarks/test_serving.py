"""What the serving benchmark makes of its results, and who takes part in what."""

import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from benchmarks.peers.catalogue import PEERS
from benchmarks.serving import cores, measure, rounds
from benchmarks.serving.contenders import Echo, Other, Running
from benchmarks.serving.report import report
from benchmarks.serving.results import LIMITS, LIMITS_COMPILED, LIMITS_INT8, Key, Results
from benchmarks.serving.scenarios import SCENARIOS
from client.bench.run import Result
from client.bench.sender import Answer, TargetError
from client.bench.tally import Tally
from client.bench.worker import Progress


def figures(rate, cpu_ms=20.0, p50=10.0, **statuses):
    return {
        "rate": rate,
        "p50": p50,
        "p99": 20.0,
        "cpu_ms": cpu_ms,
        "statuses": statuses or {"OK": 10},
        "version": "one 1.0",
    }


def limit(per_s, cpu_ms=20.0, single_ms=8.0):
    cost = {"per_s": per_s, "cpu_ms": cpu_ms}
    return {"offline": cost, "engine": cost, "decode": cost, "single_ms": single_ms}


@pytest.fixture
def told(tmp_path, capsys):
    """Report results, given as {key: figures}; gives the rows of every table by its title."""

    def tell(results):
        file = Results(tmp_path / "results.jsonl")
        for (number, contender, scenario, in_flight), found in results.items():
            file.add(Key(number, "resnet18", contender, scenario, in_flight), found)
        report(file, tmp_path / "plot.png")
        tables = capsys.readouterr().out.strip().split("\n\n")
        return {
            title: {row[0]: row[1:] for row in map(_cells, table.splitlines()[2:])}
            for title, table in zip(tables[::2], tables[1::2], strict=True)
        }

    return tell


def _cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_shares_are_of_the_limit_of_the_same_round(told, tmp_path):
    results = {}
    for number, speed in enumerate((100.0, 10.0, 40.0)):  # a machine whose neighbours come and go
        results[number, LIMITS, "a", 0] = limit(speed)
        results[number, "litserve", "a", 16] = figures(speed / 2, 25.0, OK=9, UNAVAILABLE=1)
        results[number, "ray", "a", 16] = {"failed": "ended with 1"}
    (table,) = (rows for title, rows in told(results).items() if "16 in flight" in title)
    rate, rate_share, _, _, cost, cost_share, lost, rounds_ = table["litserve (one 1.0)"]
    assert rate == "20.0 (5.0 to 50.0)"
    assert rate_share == "0.50 (0.50 to 0.50)"
    assert (cost, cost_share) == ("25.0 (25.0 to 25.0)", "0.80 (0.80 to 0.80)")
    assert (lost, rounds_) == ("3", "3")
    assert table["ray"][0] == "ended with 1"
    assert (tmp_path / "plot-resnet18.png").stat().st_size > 1000


def test_bars_compare_each_engine_with_its_own_limit_and_the_best_peers(told):
    found = told(
        {
            (0, LIMITS, "a", 0): limit(100.0),
            (0, LIMITS_COMPILED, "a", 0): limit(200.0),
            (0, "menagerie", "a", 16): figures(90.0),
            (0, "menagerie-compiled", "a", 16): figures(150.0),
            (0, "queue", "a", 16): figures(75.0),
            (0, "litserve", "a", 16): figures(60.0),
            (0, "queue-compiled", "a", 16): figures(100.0),
            (0, "echo", "a", 1): figures(900.0, p50=2.0),
            (0, "menagerie", "a", 1): figures(80.0, p50=12.0),
        }
    )["resnet18: what was wanted"]
    where = "a, 16 in flight"
    assert found[f"{where}: menagerie, 0.92 of its limit"] == ["0.90"]
    assert found[f"{where}: menagerie-compiled, 0.92 of its limit"] == ["0.75"]
    assert found[f"{where}: menagerie-compiled, 1.5 times the best peer (queue)"] == ["2.00"]
    best = "1.1 times the best compiled peer (queue-compiled)"
    assert found[f"{where}: menagerie-compiled, {best}"] == ["1.50"]
    alone = "menagerie, p50 at most 1.15 of engine, decoder and echo"
    assert found[f"a, 1 in flight: {alone}"] == ["1.20"]


def test_an_overload_is_told_by_its_goodput_and_refusals(told):
    statuses = {"OK": 30, "UNAVAILABLE": 60, "DEADLINE_EXCEEDED": 10}
    over = {"peak": 100.0, "goodput": 95.0, "refused_p99": 12.0, "lag_p99": 1.0}
    tables = told({(0, "menagerie", "e", 32): figures(96.0, **statuses) | over})
    (table,) = (rows for title, rows in tables.items() if "three times" in title)
    _, _, share, _, refused_p99, refused, late, _, _ = table["menagerie (one 1.0)"]
    assert (share, refused_p99, refused, late) == ("0.95", "12", "0.60", "0.10")
    bars = tables["resnet18: what was wanted"]
    assert bars["e: menagerie, goodput 0.9 of the peak"] == ["0.95"]


def test_what_was_measured_twice_in_a_round_counts_once(told, tmp_path):
    Results(tmp_path / "results.jsonl").add(Key(0, "resnet18", "ray", "a", 16), figures(1.0))
    tables = told({(0, "ray", "a", 16): figures(2.0)})
    (table,) = (rows for title, rows in tables.items() if "16 in flight" in title)
    assert (table["ray (one 1.0)"][0], table["ray (one 1.0)"][-1]) == ("2.0", "1")


def test_some_of_the_loads():
    loads = SCENARIOS[0]
    assert loads.only([16]).in_flight == (16,)
    assert loads.only([]).in_flight == loads.in_flight


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """The rounds of an echo and two peers, with results of their own."""
    peers = [Echo(), Other(PEERS["pytriton"]), Other(PEERS["grpcio"])]
    monkeypatch.setattr(rounds, "contenders", lambda: peers)
    photos = SimpleNamespace(images=[b""])
    monkeypatch.setattr(rounds, "photos_of", lambda _scenario: photos)
    results = Results(tmp_path / "results.jsonl")
    return rounds.Bench("resnet18", SCENARIOS, results), results


def test_a_round_goes_on_with_the_loads_it_lacks(bench):
    bench, results = bench

    def add(contender, **loads):
        for scenario, in_flights in loads.items():
            for in_flight in in_flights:
                name = scenario.replace("_", "-")
                results.add(Key(0, "resnet18", contender, name, in_flight), {"rate": 1.0})

    add("echo", a=(1, 16), c=(16,))
    assert not bench.is_done(0, "echo")
    add("echo", a=(64,))
    assert bench.is_done(0, "echo")  # it computes nothing: no overload
    add("grpcio", a=(1, 16, 64), c=(16,), e=(32,))
    assert bench.is_done(0, "grpcio")
    add("pytriton", a=(1, 16, 64), c=(16,), e=(32,), g_batch=(2,), g_stream=(16,))
    assert not bench.is_done(0, "pytriton")
    add("pytriton", f=(16,))
    assert bench.is_done(0, "pytriton")
    assert not bench.is_done(1, "pytriton")


def test_a_server_that_goes_away_has_failed_what_is_left_of_its_round(bench, monkeypatch):
    bench, results = bench
    monkeypatch.setattr(rounds, "served", lambda *_networks: ())
    monkeypatch.setattr(rounds, "wait_until_ready", lambda *_: 1.0)
    monkeypatch.setattr(rounds, "settle", lambda *_: 0.0)
    monkeypatch.setattr(rounds, "_end_of", lambda _log: "killed")

    def gone(*_):
        raise TargetError("no connection")

    monkeypatch.setattr(rounds, "measure", gone)
    monkeypatch.setattr(Echo, "running", lambda *_: nullcontext())
    results.add(Key(0, "resnet18", "echo", "a", 1), {"rate": 1.0})
    bench.run(0, "echo")
    failed = {(key.scenario, key.in_flight) for key, found in results if "failed" in found}
    assert failed == {("a", 16), ("a", 64), ("c", 16)}
    assert bench.is_done(0, "echo")


def test_the_order_turns_from_round_to_round(bench):
    bench, _ = bench
    first = bench.order(0, [])
    assert first == [LIMITS, LIMITS_COMPILED, LIMITS_INT8, "echo", "pytriton", "grpcio"]
    assert bench.order(1, []) == [*first[1:], first[0]]
    assert bench.order(1, ["echo", LIMITS]) == ["echo", LIMITS]


@pytest.fixture
def loads(monkeypatch):
    """Lets 50 photos a second be answered by every target; gives the loads they were put under."""
    under = []

    def run(target, load, _photos, *, progress):
        progress(Progress(0, 0, 0.0))
        under.append((target, load))
        tally = Tally(seconds=load.duration_s)
        for _ in range(round(50 * load.duration_s)):
            tally.count(Answer("OK"), 0.4, load.deadline_s)
        tally.sent = tally.requests
        return Result(tally, interrupted=False)

    monkeypatch.setattr(measure, "run", run)
    return under


@pytest.fixture
def running():
    """A server that does nothing."""
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield Running({"unary": "first", "second": "second"}, process)


def of_kind(kind):
    return next(scenario for scenario in SCENARIOS if scenario.kind == kind)


def test_an_overload_is_three_times_what_the_server_just_did(loads, running):
    found = measure.measure(running, None, of_kind("overload"), 32)
    (_, closed), (_, opened) = loads
    assert (closed.in_flight, opened.in_flight) == (32, 0)
    assert opened.rate_per_s == pytest.approx(150.0)
    assert (opened.deadline_s, found["peak"], found["goodput"]) == (0.5, 50.0, 50.0)


def test_under_overload_the_generator_has_a_core_of_its_own(monkeypatch):
    now = [{0, 1, 2}]
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _pid: now[-1])
    monkeypatch.setattr(cores.os, "sched_setaffinity", lambda _pid, which: now.append(set(which)))
    assert cores.shares("unary") == ([0, 1, 2], [0, 1, 2])
    theirs, ours = cores.shares("overload")
    with cores.on(theirs), cores.on(ours):
        pass
    assert now == [{0, 1, 2}, {0, 1}, {2}, {0, 1}, {0, 1, 2}]
    now.append({3})
    assert cores.shares("overload") == ([3], [3])


def test_two_models_are_loaded_at_the_same_time_and_cost_together(loads, running):
    found = measure.measure(running, None, of_kind("pair"), 16)
    assert sorted(target for target, _ in loads) == ["first", "second"]
    assert (found["rate"], found["second"]["rate"]) == (50.0, 50.0)
    assert found["second"]["p99"] == pytest.approx(400.0, rel=1e-2)
