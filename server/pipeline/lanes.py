"""Which model's batch runs next on a device that several models share.

A device has as many lanes as batches may run on it at the same time. Lanes go to the model
that has used them least, by virtual time (Demers, Keshav and Shenker, SIGCOMM 1989), so that
a busy model cannot starve a quiet one. Knows neither gRPC nor torch.
"""

from collections.abc import Callable


class Lanes:
    """The lanes of one device.

    Args:
        count: Batches that may run at the same time.

    Attributes:
        seats: Of the models that share them.
        virtual_s: Seconds used by the seat that was served last: where a newcomer starts.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._ends: list[float] = []  # predicted, of the batches that run
        self.seats: list[Seat] = []
        self.virtual_s = 0.0

    @property
    def free(self) -> int:
        """Lanes without a batch."""
        return self._count - len(self._ends)

    def free_at(self) -> list[float]:
        """For each lane, when it is predicted to be free, in clock seconds; -inf: it is."""
        return [*self._ends, *[float("-inf")] * self.free]

    def join(self, wake: Callable[[], None]) -> "Seat":
        """A place for one model.

        Args:
            wake: Called when a lane is free for a seat that had found none.
        """
        seat = Seat(self, wake)
        self.seats.append(seat)
        return seat

    def occupy(self, seat: "Seat", end: float, seconds: float) -> None:
        """Let a seat's batch run until about ``end``."""
        self.virtual_s = max(self.virtual_s, seat.used_s)
        seat.used_s += seconds
        self._ends.append(end)

    def vacate(self, end: float) -> None:
        """A batch has ended: wake who waits for a lane, who has used least first."""
        self._ends.remove(end)
        for seat in sorted((seat for seat in self.seats if seat.wants), key=_used):
            if self.free == 0:
                break
            seat.wants = False
            seat.wake()


class Seat:
    """One model's place at a device's lanes.

    Attributes:
        wake: Called when a lane is free after there was none.
        wants: Whether it waits for a lane.
        used_s: Seconds of lanes used; a seat that was idle does not save them up.
    """

    def __init__(self, lanes: Lanes, wake: Callable[[], None]) -> None:
        self.lanes = lanes
        self.wake = wake
        self.wants = False
        self.used_s = lanes.virtual_s

    def finds_free(self) -> bool:
        """Whether a lane is free; if none is, the seat is woken when one is."""
        if self.lanes.free > 0:
            return True
        if not self.wants:
            self.wants = True
            self.used_s = max(self.used_s, self.lanes.virtual_s)
        return False

    def take(self, now: float, seconds: float) -> "Lane":
        """Take a free lane for a batch that is predicted to run for ``seconds``."""
        lane = Lane(self, now + seconds)
        self.lanes.occupy(self, lane.end, seconds)
        return lane

    def leave(self) -> None:
        """Give up the place, if it still has it; no batch of it runs any more."""
        if self in self.lanes.seats:
            self.lanes.seats.remove(self)


class Lane:
    """A lane while a batch runs on it.

    Attributes:
        end: When the batch was predicted to end, in clock seconds.
    """

    def __init__(self, seat: Seat, end: float) -> None:
        self._seat = seat
        self.end = end

    def give_back(self, now: float) -> None:
        """The batch has ended: whoever has used the lanes least is woken."""
        self._seat.used_s += now - self.end  # what it took beyond the prediction
        self._seat.lanes.vacate(self.end)


def _used(seat: Seat) -> float:
    return seat.used_s
