"""The doors: TLS that follows its files, clients by token and certificate, scopes, quotas."""

import hashlib
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from client import (
    AsyncClient,
    Client,
    ClientError,
    Credentials,
    CredentialsError,
    HealthStatus,
    PermissionDeniedError,
    ResourceExhaustedError,
    ServerUnavailableError,
    UnauthenticatedError,
    UnimplementedError,
)
from tests.artifacts import publish_tiny_artifact
from tests.integration.certificates import Authority
from tests.integration.conftest import ROOT, Server, run_server
from tests.unit.deploy.test_docker import health_check
from tests.unit.models import images

TOKENS = {name: f"{name}-token-{'x' * 30}" for name in ("shop", "auditor", "slow", "nobody")}
CLIENTS = {
    "shop": ["classify", "read"],
    "auditor": ["read"],
    "slow": ["classify"],
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    publish_tiny_artifact(root)
    return root


@pytest.fixture(scope="module")
def photo() -> bytes:
    return images.encode(images.Image.new("RGB", (40, 30), (220, 20, 20)), "PNG")


def clients_file(path: Path, scopes: dict[str, list[str]], **extra: str) -> Path:
    entries = [
        f'[[clients]]\nname = "{name}"\nscopes = {json.dumps(of)}\n'
        f'token_sha256 = "{hashlib.sha256(TOKENS[name].encode()).hexdigest()}"\n'
        f"{extra.get(name, '')}\n"
        for name, of in scopes.items()
    ]
    beside = path.with_suffix(".new")
    beside.write_text("\n".join(entries))
    beside.rename(path)
    return path


def as_(name: str, **tls: object) -> Credentials:
    return Credentials(token=TOKENS[name], **tls)


class Walled:
    """A server with TLS and a clients file, and the files it follows."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.probe = ""
        self.authority = Authority("first")
        self.ca = self.authority.write(folder, "ca")
        self.certificate, self.key = self.authority.issue("server").write(folder, "server")
        self.clients = clients_file(folder / "clients.toml", CLIENTS, slow="rate_per_s = 2")
        self.flags = (
            *("--repository", repository, "--lame-duck-s", 0, "--reflection"),
            *("--tls-certificate", self.certificate, "--tls-key", self.key),
            *("--clients", self.clients),
        )


@pytest.fixture
def walled(tmp_path: Path, repository: Path) -> Walled:
    return Walled(tmp_path, repository)


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> Iterator[tuple[Walled, Server]]:
    walled = Walled(tmp_path_factory.mktemp("walled"), repository)
    with socket.create_server(("127.0.0.1", 0)) as free:
        walled.probe = f"127.0.0.1:{free.getsockname()[1]}"
    port = walled.probe.rpartition(":")[2]
    with run_server(*map(str, walled.flags), "--probe-port", port) as server:
        yield walled, server


def test_probes_need_neither_tls_nor_token_and_reach_health_alone(shared, photo: bytes) -> None:
    walled, server = shared
    check = health_pb2.HealthCheckRequest()
    with grpc.insecure_channel(walled.probe) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(check, timeout=30).status == health_pb2.HealthCheckResponse.SERVING
        alive = health.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=30)
        assert alive.status == health_pb2.HealthCheckResponse.SERVING
    with Client(walled.probe) as client, pytest.raises(UnimplementedError):
        client.classify(photo)
    with (
        grpc.insecure_channel(server.grpc) as channel,
        pytest.raises(grpc.RpcError),
    ):
        health_pb2_grpc.HealthStub(channel).Check(check, timeout=5)


def test_the_images_health_check_finds_a_server_with_tls_healthy(shared) -> None:
    walled, server = shared
    program, *arguments, image_address = health_check()
    assert program == "menagerie"
    assert image_address.startswith("127.0.0.1:")
    answers = {}
    for address in (walled.probe, server.grpc):
        command = [sys.executable, "-m", "client", *arguments, address]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
        answers[address] = ended.returncode
    assert answers[walled.probe] == 0
    assert answers[server.grpc] != 0  # where it asked before: TLS, and a certificate of our own


def test_a_client_with_the_authority_and_a_token_is_served(shared, photo: bytes) -> None:
    walled, server = shared
    with Client(server.grpc, credentials=as_("shop", ca=walled.ca)) as client:
        assert client.classify(photo).predictions[0].id == "red"
        outcomes = list(client.classify_many([("a", photo), ("b", photo)]))
        assert [outcome.result().predictions[0].id for outcome in outcomes] == ["red", "red"]
        assert [model.name for model in client.models()] == ["tiny"]


async def test_the_asyncio_client_is_served_too(shared, photo: bytes) -> None:
    walled, server = shared
    async with AsyncClient(server.grpc, credentials=as_("shop", ca=walled.ca)) as client:
        assert (await client.classify(photo)).predictions[0].id == "red"
        async for outcome in client.classify_many([("a", photo)]):
            assert outcome.result().predictions[0].id == "red"


def test_without_tls_nobody_gets_in(shared, photo: bytes) -> None:
    _, server = shared
    for credentials in (Credentials(), Credentials(token=TOKENS["shop"])):
        with Client(server.grpc, timeout_s=3, credentials=credentials) as client:
            with pytest.raises(ClientError) as refused:
                client.classify(photo)
            assert refused.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_a_server_of_another_authority_is_not_trusted(shared, tmp_path: Path, photo) -> None:
    _, server = shared
    stranger = Authority("stranger").write(tmp_path, "stranger")
    trusting = as_("shop", ca=stranger)
    with (
        Client(server.grpc, timeout_s=3, credentials=trusting) as client,
        pytest.raises(ServerUnavailableError),
    ):
        client.classify(photo)


@pytest.mark.parametrize(
    ("credentials", "error"),
    [
        (Credentials(), UnauthenticatedError),
        (Credentials(token=TOKENS["nobody"]), UnauthenticatedError),
        (Credentials(token="Bearer"), UnauthenticatedError),  # noqa: S106
        (Credentials(token=TOKENS["shop"][:-1]), UnauthenticatedError),
        (Credentials(token=TOKENS["auditor"]), PermissionDeniedError),
    ],
)
def test_who_may_not_classify_is_told_and_learns_nothing(
    shared, photo: bytes, credentials: Credentials, error: type[ClientError]
) -> None:
    walled, server = shared
    secured = Credentials(ca=walled.ca, token=credentials.token)
    with Client(server.grpc, credentials=secured) as client:
        with pytest.raises(error) as refused:
            client.classify(photo)
        assert refused.value.reason in ("UNAUTHENTICATED", "PERMISSION_DENIED")
        assert not any(token in str(refused.value) for token in TOKENS.values())
        with pytest.raises(error):
            list(client.classify_many([("a", photo)]))
        assert client.health() is HealthStatus.SERVING  # open, for Kubernetes


def secured(walled: Walled, server: Server) -> grpc.Channel:
    return grpc.secure_channel(server.grpc, grpc.ssl_channel_credentials(walled.ca.read_bytes()))


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer ", "x" * 6000])
def test_malformed_headers(shared, photo: bytes, header: str) -> None:
    walled, server = shared
    with grpc.secure_channel(
        server.grpc, grpc.ssl_channel_credentials(walled.ca.read_bytes())
    ) as c:
        with pytest.raises(grpc.RpcError) as refused:
            c.unary_unary("/classify.v1.ClassifyService/Classify")(
                photo, timeout=20, metadata=[("authorization", header)]
            )
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_reflection_and_unknown_methods_need_a_scope(shared) -> None:
    walled, server = shared
    with grpc.secure_channel(
        server.grpc, grpc.ssl_channel_credentials(walled.ca.read_bytes())
    ) as c:
        stub = reflection_pb2_grpc.ServerReflectionStub(c)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.ServerReflectionInfo(iter([request]), timeout=20))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = [("authorization", f"Bearer {TOKENS['auditor']}")]
        (listed,) = stub.ServerReflectionInfo(iter([request]), timeout=20, metadata=metadata)
        names = {service.name for service in listed.list_services_response.service}
        assert "classify.v1.ClassifyService" in names
        with pytest.raises(grpc.RpcError) as refused:
            c.unary_unary("/admin.v1.AdminService/Anything")(b"", timeout=20, metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_clients_rate_is_its_own(shared, photo: bytes) -> None:
    walled, server = shared
    with Client(server.grpc, credentials=as_("slow", ca=walled.ca)) as client:
        with pytest.raises(ResourceExhaustedError) as refused:
            [client.classify(photo) for _ in range(50)]
        assert refused.value.reason == "QUOTA_EXCEEDED"
        assert 0 < refused.value.retry_after_s <= 0.5
        assert "2 requests a second" in refused.value.message
        outcomes = list(client.classify_many((n, photo) for n in range(20)))
        assert sum(outcome.error is not None for outcome in outcomes) > 10
    with Client(server.grpc, credentials=as_("shop", ca=walled.ca)) as client:
        for _ in range(10):
            client.classify(photo)


def test_the_command_line_takes_files_and_environment(shared, tmp_path: Path, photo) -> None:
    walled, server = shared
    (tmp_path / "red.png").write_bytes(photo)
    token_file = tmp_path / "token"
    token_file.write_text(TOKENS["shop"] + "\n")
    command = [sys.executable, "-m", "client", "classify", str(tmp_path / "red.png"), "--json"]

    def run(*flags: object, **environment: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--server", server.grpc, *map(str, flags)],
            cwd=ROOT,
            env={key: str(value) for key, value in environment.items()},
            capture_output=True,
            text=True,
            check=False,
        )

    by_flags = run("--tls-ca", walled.ca, "--token-file", token_file)
    by_environment = run(MENAGERIE_CA=walled.ca, MENAGERIE_TOKEN_FILE=token_file)
    for result in (by_flags, by_environment):
        assert (result.returncode, result.stderr) == (0, "")
        assert json.loads(result.stdout)["predictions"][0]["label"] == "red"
    assert run("--tls-ca", walled.ca).returncode == 4
    missing = run("--tls-ca", tmp_path / "missing.pem")
    assert (missing.returncode, "missing.pem: No such file" in missing.stderr) == (2, True)


def test_files_are_followed_and_secrets_stay_secret(walled: Walled, photo: bytes) -> None:
    with run_server(*map(str, walled.flags)) as server:
        second = Authority("second")
        new_ca = second.write(walled.folder, "new-ca")
        with Client(server.grpc, credentials=as_("shop", ca=walled.ca)) as before:
            assert before.classify(photo).predictions[0].id == "red"
            # A broken certificate changes nothing; a new one is taken by the next handshake.
            walled.certificate.write_bytes(b"no certificate")
            with Client(server.grpc, credentials=as_("shop", ca=walled.ca)) as client:
                assert client.classify(photo).predictions[0].id == "red"
            second.issue("server").write(walled.folder, "server")
            with Client(server.grpc, credentials=as_("shop", ca=new_ca)) as client:
                assert client.classify(photo).predictions[0].id == "red"
            assert before.classify(photo).predictions[0].id == "red"  # its connection lives on
            # A broken clients file changes nothing; a new one holds from the next call on.
            walled.clients.write_text("[[clients]]\nname = 1")
            assert before.classify(photo).predictions[0].id == "red"
            clients_file(walled.clients, {"auditor": ["read"]})
            with pytest.raises(UnauthenticatedError):
                before.classify(photo)
        with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=20) as page:
            metrics = page.read().decode()
        server.terminate()
        log = server.log.result()
    assert "cannot be read anew" in log
    assert "was read anew" in log
    key_lines = [line for line in walled.key.read_text().splitlines() if "---" not in line]
    for secret in (*TOKENS.values(), *key_lines):
        assert secret not in log
        assert secret not in metrics


def test_mutual_tls_knows_clients_by_their_certificates(walled: Walled, photo: bytes) -> None:
    staff = Authority("staff")
    staff_ca = staff.write(walled.folder, "staff-ca")
    camera = staff.issue("camera.example.org").write(walled.folder, "camera")
    visitor = staff.issue("visitor.example.org").write(walled.folder, "visitor")
    forged = Authority("staff").issue("camera.example.org").write(walled.folder, "forged")
    walled.clients.write_text(
        '[[clients]]\nname = "camera"\ncertificate = "camera.example.org"\nscopes = ["classify"]\n'
    )
    with run_server(*map(str, walled.flags), "--tls-client-ca", str(staff_ca)) as server:

        def classify(pair: tuple[Path, Path] | None) -> str:
            certificate, key = pair or (None, None)
            credentials = Credentials(ca=walled.ca, certificate=certificate, key=key)
            with Client(server.grpc, timeout_s=30, credentials=credentials) as client:
                return client.classify(photo).predictions[0].id

        assert classify(camera) == "red"
        with pytest.raises(UnauthenticatedError):
            classify(visitor)
        for pair in (None, forged):
            with pytest.raises(ServerUnavailableError):
                classify(pair)


def test_a_token_is_not_sent_in_the_clear() -> None:
    with pytest.raises(CredentialsError, match="without TLS"):
        Client("example.org:50051", credentials=as_("shop"))


def test_a_public_address_without_tls_is_refused() -> None:
    command = [sys.executable, "-m", "server", "--port", "0", "--metrics-port", "0"]
    result = subprocess.run(
        [*command, "--host", "0.0.0.0"],  # noqa: S104
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert result.returncode == 1
    assert "host: 0.0.0.0 can be reached by others and there is no TLS" in result.stderr


def test_a_public_address_may_be_insecure_if_said_so(repository: Path) -> None:
    flags = ("--repository", str(repository), "--host", "0.0.0.0", "--insecure")  # noqa: S104
    with run_server(*flags) as server:
        port = server.grpc.rpartition(":")[2]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError) as refused:  # administration is for this machine
                channel.unary_unary("/admin.v1.AdminService/Anything")(b"", timeout=20)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
