import json

import pytest
from grpc_health.v1 import health_pb2

from client.health import SERVICES
from proto.classify.v1 import model_pb2

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def pets(**fields):
    labels = [
        model_pb2.Label(index=i, id=name, display_name=name.title())
        for i, name in enumerate(("cat", "dog", "owl", "fox"))
    ]
    return model_pb2.Model(
        name="pets",
        version="3",
        labels=labels,
        input=model_pb2.InputSpec(height=128, width=160),
        network="resnet9",
        metrics={"accuracy": 0.951},
        **fields,
    )


def test_models(server, cli):
    server.models = [
        pets(is_default=True, state=model_pb2.MODEL_STATE_READY, version_labels=["latest"]),
        pets(state=model_pb2.MODEL_STATE_FAILED, state_reason="[b]digest\x1b[31m differs"),
    ]
    result = cli("models", "--server", server.address)
    assert result.code == 0
    header, _, first, second = result.out.splitlines()
    assert header.split() == [
        *("Model", "Version", "State", "Labels", "Input", "Network", "Accuracy")
    ]
    for cell in ("pets *", "3 latest", "READY", "4: Cat, Dog, Owl, …", "160 x 128", "95.1%"):
        assert cell in first
    assert "FAILED ([b]digest\\x1b[31m differs)" in second


def test_models_as_json(server, cli):
    serving = {"tuning": "measured", "capacity": model_pb2.Capacity(device="cuda")}
    server.models = [pets(is_default=True, state=model_pb2.MODEL_STATE_READY, **serving), pets()]
    result = cli("models", "--json", "--server", server.address)
    first, second = map(json.loads, result.out.splitlines())
    assert (first["model"], first["version"], first["state"]) == ("pets", "3", "READY")
    assert (first["default"], second["default"]) == (True, False)
    assert first["labels"][0] == {"label": "cat", "display_name": "Cat"}
    assert first["metrics"] == {"accuracy": 0.951}
    assert (first["device"], first["tuning"]) == ("cuda", "measured")
    assert (second["device"], second["tuning"]) == (None, None)


def test_no_models(server, cli):
    result = cli("models", "--server", server.address)
    assert (result.code, result.out) == (0, "")
    assert "serves no model" in result.err


@pytest.mark.parametrize("command", ["models", "health"])
def test_the_server_is_down(cli, nobody, command):
    result = cli(command, "--server", nobody)
    assert (result.code, result.out) == (3, "")
    assert f"Cannot reach a server at {nobody}" in result.err
    assert "Traceback" not in result.err


def test_an_old_server(server, cli, make_status):
    server.call_errors.append(make_status("UNIMPLEMENTED", "no such method"))
    result = cli("models", "--server", server.address)
    assert result.code == 4
    assert "no such method" in result.err


def test_a_healthy_server(server, cli):
    result = cli("health", "--server", server.address)
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()[2:]] == [
        ["(server)", "SERVING"],
        *([service, "SERVING"] for service in SERVICES),
    ]
    report = json.loads(cli("health", "--json", "--server", server.address).out)
    assert report == {
        "server": server.address,
        "serving": True,
        "status": "SERVING",
        "services": dict.fromkeys(SERVICES, "SERVING"),
    }


@pytest.mark.parametrize("service", ["", "classify.v1.ClassifyService"])
def test_an_unhealthy_server(server, cli, service):
    server.health.set(service, NOT_SERVING)
    result = cli("health", "--json", "--server", server.address)
    assert result.code == 3
    assert json.loads(result.out)["serving"] is False


def test_health_of_nobody_as_json(cli, nobody):
    result = cli("health", "--json", "--server", nobody)
    assert result.code == 3
    report = json.loads(result.out)
    assert (report["serving"], report["error"]["code"]) == (False, "UNAVAILABLE")


def test_waiting(server, cli):
    assert cli("health", "--wait", "30", "--server", server.address).code == 0


def test_waiting_for_one_service(server, cli):
    """The server as a whole is SERVING a moment before one of its services."""
    service = "classify.v1.ModelService"
    server.health.set(service, NOT_SERVING)
    server.health.on_watch = lambda watched: watched == service and server.set_serving()
    assert cli("health", "--wait", "30", "--server", server.address).code == 0


def test_waiting_in_vain(server, cli):
    server.set_serving(False)
    result = cli("health", "--wait", "0.2", "--server", server.address)
    assert result.code == 3
    assert "not serving after 0.2 s" in result.err
