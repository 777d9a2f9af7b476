"""Lanes go to who has used them least."""

from server.pipeline.lanes import Lane, Lanes, Seat


class Model:
    """Runs batches of ``seconds`` whenever it finds a lane, as long as it has ``waiting``."""

    def __init__(self, lanes: Lanes, seconds: float, waiting: int = 0) -> None:
        self.seat: Seat = lanes.join(self.dispatch)
        self.seconds = seconds
        self.waiting = waiting
        self.running: list[tuple[float, Lane]] = []
        self.now = 0.0
        self.busy_s = 0.0

    def dispatch(self) -> None:
        while self.waiting and self.seat.finds_free():
            self.waiting -= 1
            self.running.append((self.now + self.seconds, self.seat.take(self.now, 0.0)))


def run(models: list[Model], until: float) -> None:
    """Let batches end in order until ``until``."""
    for model in models:
        model.dispatch()
    while True:
        ends = [(end, index) for index, m in enumerate(models) for end, _ in m.running]
        if not ends or min(ends)[0] > until:
            return
        end, index = min(ends)
        for model in models:
            model.now = end
        entry = min(models[index].running, key=lambda pair: pair[0])
        models[index].running.remove(entry)
        models[index].busy_s += models[index].seconds
        entry[1].give_back(end)


def test_a_busy_model_shares_by_time_not_by_batches() -> None:
    for count in (1, 2, 3):
        lanes = Lanes(count)
        heavy, light = Model(lanes, 5.0, 10_000), Model(lanes, 1.0, 10_000)
        run([heavy, light], 1000.0)
        assert abs(heavy.busy_s - light.busy_s) <= 5.0 * (count + 1)
        assert heavy.busy_s + light.busy_s >= 1000.0 * count - 5.0 * count


def test_who_was_idle_does_not_save_up() -> None:
    lanes = Lanes(1)
    early, late = Model(lanes, 1.0, 10_000), Model(lanes, 1.0)
    run([early, late], 500.0)
    late.waiting = 10_000
    run([early, late], 600.0)
    assert 45 <= late.busy_s <= 55


def test_who_has_nothing_left_does_not_hold_the_lane() -> None:
    lanes = Lanes(1)
    one, other = Model(lanes, 1.0, 3), Model(lanes, 1.0, 3)
    one.dispatch()
    other.dispatch()
    other.waiting = 0  # its callers have left
    run([one, other], 100.0)
    assert one.busy_s == 3.0
    assert lanes.free == 1
    assert not one.running


def test_it_says_when_lanes_will_be_free() -> None:
    lanes = Lanes(2)
    seat = lanes.join(lambda: None)
    lane = seat.take(10.0, 4.0)
    assert sorted(lanes.free_at()) == [float("-inf"), 14.0]
    lane.give_back(13.0)
    assert lanes.free == 2
    seat.leave()
    assert lanes.seats == []
