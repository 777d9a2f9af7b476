"""Callers: what the engine learns of them is what the front knew."""

import time
from math import inf

import pytest

from server.access.quotas import Limits, Quota, Quotas
from server.errors import QuotaError
from server.fronts import callers
from server.rpc.calls import Caller


@pytest.mark.parametrize("deadline", [inf, 12345.678])
def test_a_caller_arrives_whole(deadline: float) -> None:
    quota = Quota("ann", Limits(5.0, inf), time.monotonic)
    sent = Caller("ann's job", deadline, quota, {"traceparent": "00-1-2-01"})
    arrived = callers.unpack(callers.pack(sent), Quotas(Limits(), time.monotonic))
    assert (arrived.name, arrived.deadline) == ("ann's job", deadline)
    assert arrived.trace_headers == {"traceparent": "00-1-2-01"}
    assert (arrived.quota.name, arrived.quota.limits) == ("ann", Limits(5.0, inf))


def test_one_quota_counts_what_comes_through_all_fronts() -> None:
    quotas = Quotas(Limits(), time.monotonic)
    quota = Quota("ann", Limits(inf, 1), time.monotonic)
    packed = callers.pack(Caller("ann", inf, quota))
    with callers.unpack(packed, quotas).quota.image(), pytest.raises(QuotaError):
        callers.unpack(packed, quotas).quota.image().__enter__()
