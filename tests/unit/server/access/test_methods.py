"""Every method that is served has a scope on purpose."""

import pytest

from proto.classify.v1 import classify_pb2, model_pb2
from server.access.clients import Scope
from server.access.methods import scope_of


def test_our_services() -> None:
    for method in classify_pb2.DESCRIPTOR.services_by_name["ClassifyService"].methods:
        assert scope_of(f"/classify.v1.ClassifyService/{method.name}") is Scope.CLASSIFY
    for method in model_pb2.DESCRIPTOR.services_by_name["ModelService"].methods:
        assert scope_of(f"/classify.v1.ModelService/{method.name}") is Scope.READ


def test_health_is_open() -> None:
    assert scope_of("/grpc.health.v1.Health/Check") is None


@pytest.mark.parametrize(
    "method",
    ["/admin.v1.AdminService/Load", "", "/", "/x", "grpc.health.v1.Health/Check", "//", "/a/b/c"],
)
def test_what_is_not_listed_is_for_administrators(method: str) -> None:
    assert scope_of(method) is Scope.ADMIN
