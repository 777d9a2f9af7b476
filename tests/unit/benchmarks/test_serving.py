"""What the serving benchmark makes of its results."""

from benchmarks.serving.report import report
from benchmarks.serving.results import Key, Results
from benchmarks.serving.scenarios import SCENARIOS


def figures(rate, cpu_ms, **statuses):
    return {
        "rate": rate,
        "p50": 10.0,
        "p99": 20.0,
        "cpu_ms": cpu_ms,
        "statuses": statuses or {"OK": 10},
        "version": "one 1.0",
    }


def limit(per_s, cpu_ms):
    cost = {"per_s": per_s, "cpu_ms": cpu_ms}
    return {"offline": cost, "engine": cost, "decode": cost}


def rows(printed):
    """The cells of each row of the last table, by its first cell."""
    lines = printed.split("\n\n")[-1].splitlines()[2:]
    return {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines}


def test_shares_are_of_the_limit_of_the_same_round(tmp_path, capsys):
    results = Results(tmp_path / "results.jsonl")
    for number, speed in enumerate((100.0, 10.0, 40.0)):  # a machine whose neighbours come and go
        results.add(Key(number, "resnet18", "limits", "a", 0), limit(speed, 20.0))
        key = Key(number, "resnet18", "litserve", "a", 16)
        results.add(key, figures(speed / 2, 25.0, OK=9, UNAVAILABLE=1))
        results.add(Key(number, "resnet18", "ray", "a", 16), {"failed": "ended with 1"})
    report(results, tmp_path / "plot.png")
    table = rows(capsys.readouterr().out)
    rate, rate_share, _, _, cost, cost_share, lost, rounds = table["one 1.0"]
    assert rate == "20.0 (5.0 to 50.0)"
    assert rate_share == "0.50 (0.50 to 0.50)"
    assert (cost, cost_share) == ("25.0 (25.0 to 25.0)", "0.80 (0.80 to 0.80)")
    assert (lost, rounds) == ("3", "3")
    assert table["ray"][0] == "ended with 1"
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_some_of_the_loads():
    loads = SCENARIOS[0]
    assert loads.only([16]).in_flight == (16,)
    assert loads.only([]).in_flight == loads.in_flight
