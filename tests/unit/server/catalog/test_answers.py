"""Whether a request could be answered, asked before anybody looks at its image."""

import time
from math import inf

from google.rpc import code_pb2

from proto.classify.v1 import classify_pb2
from server.access.quotas import Limits, Quotas
from server.rpc.answers import CatalogAnswers
from server.rpc.calls import Caller
from server.rpc.feedback import AnswerMemory
from server.rpc.response_cache import ResponseCache
from server.telemetry.request_log import RequestLog
from tests.artifacts import publish_tiny_artifact
from tests.unit.server.catalog.conftest import World

REQUEST = classify_pb2.ClassifyRequest(request_id="one")


async def test_what_is_refused_is_counted_and_the_rest_is_not(world: World) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    memory, log = AnswerMemory(world.metrics, None, 10), RequestLog(0.0, 0.0)
    cache = ResponseCache(0, world.metrics)
    answers = CatalogAnswers(
        world.catalog, world.metrics, log, None, 30.0, memory, world.shadows, None, cache
    )
    quota = Quotas(Limits(), time.monotonic).of("somebody", Limits())

    def admit(deadline: float) -> int | None:
        status = answers.admit("Classify", REQUEST, Caller("somebody", deadline, quota), 0, 0.0)
        return status.code if status else None

    def counted(code: str) -> float | None:
        labels = {"method": "Classify", "model": "tiny", "version": "1", "code": code}
        return world.metrics.registry.get_sample_value("menagerie_requests_total", labels)

    assert admit(inf) is None
    assert admit(time.monotonic() - 1) == code_pb2.DEADLINE_EXCEEDED
    assert counted("DEADLINE_EXCEEDED") == 1
    assert not counted("OK")
