from importlib import import_module

from client.health import SERVICES
from proto.generate import sources
from server import listener

ADMINISTRATION = {"classify.v1.AdminService"}  # on a listener of its own


def test_the_services_are_those_of_the_protos_and_those_that_the_server_answers_for():
    described = {
        service.full_name
        for source in sources()
        for service in import_module(
            ".".join(source.with_name(f"{source.stem}_pb2").parts)
        ).DESCRIPTOR.services_by_name.values()
    }
    assert set(SERVICES) == described - ADMINISTRATION
    assert set(SERVICES) == set(listener.SERVICES)
