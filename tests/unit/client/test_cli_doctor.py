import contextlib
import datetime
import json
import socket
import threading

import grpc
import pytest

from proto.classify.v1 import classify_pb2, model_pb2
from tests.integration.certificates import Authority
from tests.unit.client.conftest import ScriptedServer


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


OURS = Authority("ours")
DAY = datetime.timedelta(days=1)


@contextlib.contextmanager
def tls_server(pair, client_authority=None):
    credentials = grpc.ssl_server_credentials(
        [(pair.key, pair.certificate)],
        root_certificates=client_authority.pem if client_authority else None,
        require_client_auth=client_authority is not None,
    )
    server = ScriptedServer(tls=credentials)
    server.start()
    server.set_serving()
    yield server
    server.stop()


def tls_finding(cli, server, *flags):
    found = findings(cli("doctor", "--json", "--timeout", "5", "--server", server.address, *flags))
    return list(found)[-1], found["TLS"]


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return OURS.write(tmp_path_factory.mktemp("ca"), "ours")


def test_tls_that_holds(ca, cli):
    with tls_server(OURS.issue("photos.example", valid=30 * DAY)) as server:
        last, found = tls_finding(cli, server, "--tls-ca", ca)
        assert (found["verdict"], last) == ("ok", "models")  # it goes on; there is no model here
        assert "photos.example, 127.0.0.1" in found["message"]


@pytest.mark.parametrize(
    ("pair", "verdict", "message", "remedy"),
    [
        (OURS.issue("near", valid=3 * DAY), "warning", "expires in 3 days", "replace its files"),
        (OURS.issue("late", valid=-DAY / 2), "problem", "has expired", "replace its files"),
        (
            OURS.issue("other.example", address="192.0.2.7"),
            "problem",
            "is for other.example, 192.0.2.7, not for 127.0.0.1",
            "a name of its certificate",
        ),
        (
            Authority("theirs").issue("photos.example"),
            "problem",
            "is not signed by",
            "--tls-ca PEM",
        ),
    ],
    ids=["expires soon", "expired", "another name", "another authority"],
)
def test_a_certificate_of_the_server_that_is_not_good(ca, cli, pair, verdict, message, remedy):
    with tls_server(pair) as server:
        last, found = tls_finding(cli, server, "--tls-ca", ca)
    assert found["verdict"] == verdict
    assert message in found["message"]
    assert remedy in found["remedy"]
    assert last == ("TLS" if verdict == "problem" else "models")


def test_an_authority_that_nobody_named(cli):
    with tls_server(OURS.issue("photos.example")) as server:
        _, found = tls_finding(cli, server, "--tls")
    assert "no authority that is trusted by default" in found["message"]
    assert "--tls-ca" in found["remedy"]


def test_a_server_that_wants_to_know_who_calls(ca, cli, tmp_path):
    strange = Authority("strange")
    with tls_server(OURS.issue("photos.example", valid=30 * DAY), OURS) as server:
        _, nobody = tls_finding(cli, server, "--tls-ca", ca)
        assert "without a certificate" in nobody["message"]
        assert "--tls-cert" in nobody["remedy"]
        certificate, key = strange.issue("stranger").write(tmp_path, "stranger")
        flags = ("--tls-ca", ca, "--tls-cert", certificate, "--tls-key", key)
        _, stranger = tls_finding(cli, server, *flags)
        assert f"owner of {certificate}" in stranger["message"]
        mine, my_key = OURS.issue("me").write(tmp_path, "me")
        flags = ("--tls-ca", ca, "--tls-cert", mine, "--tls-key", my_key)
        last, friend = tls_finding(cli, server, *flags)
        assert (friend["verdict"], last) == ("ok", "models")
        flags = ("--tls-ca", ca, "--tls-cert", mine, "--tls-key", key)
        _, torn = tls_finding(cli, server, *flags)
        assert "are no pair" in torn["message"]
