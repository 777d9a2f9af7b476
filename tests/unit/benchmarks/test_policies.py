"""The simulations of the batching policy: short ones, whose chance is fixed by their seeds."""

from benchmarks import batching_policy, deadline_order

SECONDS = 4.0


def of_order(mix: str, load: float) -> list[dict[str, float]]:
    return [
        deadline_order.measure(mix, "Poisson", load, order, seed=0, seconds=SECONDS)
        for order in ("first come", "earliest deadline")
    ]


def test_deadlines_order_nothing_where_they_are_equal() -> None:
    first_come, earliest = of_order("all 300 ms", 1.5)
    assert first_come == earliest


def test_the_patient_do_not_fill_the_queue_for_those_in_a_hurry() -> None:
    first_come, earliest = of_order("300 ms twice, 5 s", 2.0)
    assert earliest["goodput"] > first_come["goodput"] + 0.05


def test_shrinking_answers_what_would_else_be_refused_and_only_then() -> None:
    plain, brownout = batching_policy.POLICIES[:2]
    busy = [
        batching_policy.measure("Poisson", 1.5, policy, 0, SECONDS) for policy in (plain, brownout)
    ]
    assert busy[1]["goodput"] > busy[0]["goodput"] + 0.3
    assert 0.5 < busy[1]["shrunk_share"] < 1
    assert busy[1]["late_share"] <= busy[0]["late_share"] + 0.001
    quiet = batching_policy.measure("Poisson", 0.5, brownout, 0, SECONDS)
    assert quiet["shrunk_share"] == 0
