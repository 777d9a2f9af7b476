"""How many replicas a load takes, from what one server measured of itself. Pure arithmetic.

A replica computes ``lanes`` batches at a time, each of whatever waits when a lane comes free. At a
load of r images a second a batch of b takes t(b), so lanes come free every t(b) / lanes, and b
settles where as many images come in that time: b = r t(b) / lanes. In one such time in a hundred q
come, by Poisson's distribution. Whoever comes last among those, just after a batch has begun,
waits for it and for the batches before its own. Near its limit a replica is slower for another
reason: what waits adds up over many batches. One time in a hundred the wait w then exceeds
ln(100) s u / 2 (1 - u), where an image takes s seconds in a batch of the r w that wait, and u = r s
(Kingman, "The single server queue in heavy traffic", 1961, for Poisson arrivals and even
service). The slowest answer in a hundred is taken to be the larger of the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, exp, inf, log, sqrt
from statistics import NormalDist

from client.results import Capacity

MARGIN = 1.25  # what a batch may take beyond its prediction: the server's own for admission
BUSIEST = 0.8  # share of what a replica can do at most: beyond it waits grow without end
_SLOWEST = 0.99
_LONGEST_WAIT_S = 3600.0
_BISECTIONS = 50


@dataclass(frozen=True, slots=True)
class Load:
    """A replica at work.

    Attributes:
        per_s: Images a second that come to it.
        busy: Share of the most that it can do.
        batch_size: Images in its batches.
        batch_s: What those take, in seconds.
        crowd: Images that come while a lane is awaited, one time in a hundred.
        wait_s: What has added up in the queue, one time in a hundred, in seconds.
        p99_s: The slowest answer in a hundred, decoding included, in seconds.
    """

    per_s: float
    busy: float
    batch_size: int
    batch_s: float
    crowd: int
    wait_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How many replicas, and why.

    Attributes:
        replicas: At least so many.
        most_per_s: What one can do at most, decoding included, in images a second.
        engine_per_s: What its engine can do.
        decode_per_s: What its decoders can do; inf: not known.
        load: Of each, when all are there.
        without_one: Of each, when one is missing; None: then the target is not kept, or there is
            only one.
    """

    replicas: int
    most_per_s: float
    engine_per_s: float
    decode_per_s: float
    load: Load
    without_one: Load | None


class PlanError(Exception):
    """No number of replicas will do; the message says why."""


def plan(capacity: Capacity, rate_per_s: float, p99_s: float) -> Plan:
    """The fewest replicas that answer a load in time.

    Args:
        capacity: Of one replica.
        rate_per_s: Images a second, of independent callers, spread evenly over the replicas.
        p99_s: What 99 of 100 answers may take on the server, in seconds.

    Raises:
        PlanError: A single image alone takes too long, or nothing was measured.
    """
    if not capacity.batch_seconds:
        raise PlanError("the server has not measured what its batches take")
    idle_s = load_of(capacity, 0.0).p99_s
    if idle_s > p99_s:
        raise PlanError(
            f"one image alone may take {idle_s * 1000:.1f} ms: a faster device or model is needed"
        )
    fewest = max(1, ceil(rate_per_s / (BUSIEST * most_per_s(capacity))))
    # The load of one falls with each replica more, and in the end one image comes at a time.
    replicas = fewest
    while not _holds(load_of(capacity, rate_per_s / replicas), p99_s):
        replicas += 1
    without_one = load_of(capacity, rate_per_s / (replicas - 1)) if replicas > 1 else None
    return Plan(
        replicas=replicas,
        most_per_s=most_per_s(capacity),
        engine_per_s=_engine_per_s(capacity),
        decode_per_s=_decode_per_s(capacity),
        load=load_of(capacity, rate_per_s / replicas),
        without_one=without_one if without_one and _holds(without_one, p99_s) else None,
    )


def load_of(capacity: Capacity, per_s: float) -> Load:
    """A replica to which so many images come a second."""
    settled = _settled_batch(capacity, per_s)
    largest = capacity.max_batch_size
    batch_s = batch_seconds(capacity.batch_seconds, settled)
    crowd = poisson_quantile(per_s * batch_s / capacity.lanes, _SLOWEST)
    last = min(largest, max(settled, crowd))
    # The batch that runs when it comes, those between, and its own.
    batches = (per_s > 0) + ceil(max(crowd, 1) / largest)
    slowest_s = MARGIN * batches * batch_seconds(capacity.batch_seconds, last)
    busy = per_s / most_per_s(capacity)
    wait_s = _long_wait_s(capacity, per_s)
    together = ceil(max(1.0, min(per_s * wait_s, largest)))
    waited_s = MARGIN * (wait_s + batch_seconds(capacity.batch_seconds, together))
    p99_s = capacity.decode_s + max(slowest_s, waited_s)
    return Load(per_s, busy, settled, batch_s, crowd, wait_s, p99_s)


def _long_wait_s(capacity: Capacity, per_s: float) -> float:
    """The wait that equals what follows from the batches that it makes: larger ones go faster."""
    low, high = 0.0, _LONGEST_WAIT_S
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle < _wait_for_s(capacity, per_s, middle):
            low = middle
        else:
            high = middle
    return high


def _wait_for_s(capacity: Capacity, per_s: float, wait_s: float) -> float:
    size = max(1.0, min(per_s * wait_s, capacity.max_batch_size))
    image_s = 1 / _together_per_s(
        capacity, capacity.lanes * size / batch_seconds(capacity.batch_seconds, size)
    )
    busy = per_s * image_s
    return inf if busy >= 1 else -log(1 - _SLOWEST) * image_s * busy / (2 * (1 - busy))


def most_per_s(capacity: Capacity) -> float:
    """Images a second that a replica can do at most."""
    return _together_per_s(capacity, _engine_per_s(capacity))


def _together_per_s(capacity: Capacity, engine: float) -> float:
    """With the decoders: they and the engine take turns on a CPU's cores; beside a GPU they work
    at the same time."""
    decode = _decode_per_s(capacity)
    if capacity.device == "cpu":
        return 1 / (1 / engine + 1 / decode)
    return min(engine, decode)


def batch_seconds(measured: Mapping[int, float], size: float) -> float:
    """Between two measured sizes on a line, above the largest in proportion."""
    sizes = sorted(measured)
    if size >= sizes[-1]:
        return measured[sizes[-1]] * size / sizes[-1]
    above = next(each for each in sizes if each >= size)
    below = max((each for each in sizes if each <= size), default=above)
    if above == below:
        return measured[above]
    share = (size - below) / (above - below)
    return measured[below] + share * (measured[above] - measured[below])


def poisson_quantile(mean: float, share: float) -> int:
    """The smallest count that a share of the counts of this mean do not exceed."""
    if mean <= 0:
        return 0
    if mean > 500:  # noqa: PLR2004 - exp underflows near 745; the normal distribution is as good
        return ceil(NormalDist(mean, sqrt(mean)).inv_cdf(share))
    probability = below = exp(-mean)
    count = 0
    while below < share:
        count += 1
        probability *= mean / count
        below += probability
    return count


def _holds(load: Load, p99_s: float) -> bool:
    return load.busy <= BUSIEST and load.p99_s <= p99_s


def _settled_batch(capacity: Capacity, per_s: float) -> int:
    """The smallest batch in which a replica keeps up; the largest one if it does not."""
    for size in range(1, capacity.max_batch_size):
        if capacity.lanes * size >= per_s * batch_seconds(capacity.batch_seconds, size):
            return size
    return capacity.max_batch_size


def _engine_per_s(capacity: Capacity) -> float:
    return capacity.lanes * max(
        size / batch_seconds(capacity.batch_seconds, size)
        for size in range(1, capacity.max_batch_size + 1)
    )


def _decode_per_s(capacity: Capacity) -> float:
    return capacity.decoders / capacity.decode_s if capacity.decode_s > 0 else inf
