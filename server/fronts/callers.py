"""A caller as bytes: what the engine needs to know of whoever calls a front."""

import json
from math import inf

from server.access.quotas import Limits, Quotas
from server.rpc.calls import Caller


def pack(caller: Caller) -> bytes:
    """The caller as JSON. Its deadline is on the clock that all processes of a host share."""
    limits = caller.quota.limits
    fields = {
        "name": caller.name,
        "deadline": _finite(caller.deadline),
        "quota": caller.quota.name,
        "rate_per_s": _finite(limits.rate_per_s),
        "concurrency": _finite(limits.concurrency),
        "trace_headers": dict(caller.trace_headers),
    }
    return json.dumps(fields).encode()


def unpack(data: bytes, quotas: Quotas) -> Caller:
    """The caller; its quota is one of ``quotas``, which all fronts share."""
    fields = json.loads(data)
    limits = Limits(_infinite(fields["rate_per_s"]), _infinite(fields["concurrency"]))
    return Caller(
        fields["name"],
        _infinite(fields["deadline"]),
        quotas.of(fields["quota"], limits),
        fields["trace_headers"],
    )


def _finite(value: float) -> float | None:
    return None if value == inf else value


def _infinite(value: float | None) -> float:
    return inf if value is None else value
