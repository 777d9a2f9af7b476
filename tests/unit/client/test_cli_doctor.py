import json
import socket
import threading

import grpc
import pytest

from proto.classify.v1 import classify_pb2, model_pb2


def findings(result):
    lines = [json.loads(line) for line in result.out.splitlines()]
    return {line["check"]: line for line in lines}


@pytest.fixture
def pets(server):
    """A server with a model of two labels, whose answers say so."""
    labels = [model_pb2.Label(index=i, id=name) for i, name in enumerate(("cat", "dog"))]
    ready = model_pb2.MODEL_STATE_READY
    server.models.append(model_pb2.Model(name="pets", version="1", state=ready, labels=labels))
    plain = server.result

    def result(request):
        if len(request.image.encoded) > 2**20:
            return classify_pb2.ClassifyResult(error=server.item_errors[b"not an image"])
        return plain(request)

    server.result = result
    return server


def test_all_is_well(pets, cli):
    result = cli("doctor", "--json", "--server", pets.address)
    found = findings(result)
    assert {line["verdict"] for line in found.values()} == {"ok"}, found
    assert result.code == 0
    assert list(found) == [
        *("connection", "TLS", "health", "models", "answer", "parity", "message size", "time")
    ]
    assert "✓" in cli("doctor", "--server", pets.address).out


def test_nobody_listens(nobody, cli):
    result = cli("doctor", "--json", "--server", nobody)
    assert result.code == 3
    (found,) = findings(result).values()
    assert "refused" in found["message"]
    assert "make serve" in found["remedy"]


def test_a_name_that_is_unknown(cli):
    (found,) = findings(cli("doctor", "--json", "--server", "nowhere.invalid:1")).values()
    assert "nowhere.invalid" in found["message"]


def test_tls_on_one_side_only(pets, cli):
    found = findings(cli("doctor", "--json", "--tls", "--server", pets.address))
    assert found["TLS"]["remedy"] == "--no-tls"


def test_something_else_listens(cli):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def answer():
            while not over.is_set():
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"SSH-2.0-nothing\r\n")

        threading.Thread(target=answer, daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        found = findings(cli("doctor", "--json", "--timeout", "2", "--server", address))
        over.set()
        with socket.create_connection(listener.getsockname()):
            pass
    assert found["connection"]["verdict"] == "ok"
    assert found["health"]["verdict"] == "problem"


def test_a_server_that_is_not_serving(pets, cli):
    pets.set_serving(False)
    found = findings(cli("doctor", "--json", "--server", pets.address))
    assert list(found)[-1] == "health"
    assert "NOT_SERVING" in found["health"]["message"]


def test_a_server_that_wants_a_token(pets, cli, make_status):
    pets.call_errors.append(make_status("UNAUTHENTICATED", "no token"))
    found = findings(cli("doctor", "--json", "--server", pets.address))
    assert "--token-file" in found["models"]["remedy"]


def test_no_model_is_ready(server, cli):
    failed = model_pb2.MODEL_STATE_FAILED
    server.models.append(model_pb2.Model(name="pets", version="1", state=failed, state_reason="x"))
    result = cli("doctor", "--json", "--server", server.address)
    verdicts = [json.loads(line)["verdict"] for line in result.out.splitlines()]
    assert verdicts[-2:] == ["warning", "problem"]


def test_replicas_that_disagree(pets, cli):
    plain = pets.result

    def result(request):
        if request.image.HasField("raw"):
            request.image.encoded = b"cat"
        return plain(request)

    pets.result = result
    result = cli("doctor", "--json", "--server", pets.address)
    assert findings(result)["parity"]["verdict"] == "problem"
    assert result.code == 3


def test_a_strange_label(pets, cli):
    pets.models[0].labels.pop()
    pets.models[0].labels.add(index=1, id="horse")
    found = findings(cli("doctor", "--json", "--server", pets.address))
    assert "'dog' is none" in found["answer"]["message"]


def test_a_limit_that_is_too_low_for_photos(pets, cli):
    def refuse(context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "received message larger than max")

    # ListModels, encoded, raw, then the large one.
    pets.call_errors.extend([lambda _: None] * 3 + [refuse])
    found = findings(cli("doctor", "--json", "--server", pets.address))
    assert found["message size"]["verdict"] == "warning"
    assert "larger than max" in found["message size"]["message"]
