"""Administration over its own listener, by the command line."""

import shlex
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest

from client.__main__ import app as client
from proto.classify.v1 import admin_pb2, admin_pb2_grpc
from tests.artifacts import TINY_NAME, publish_tiny_artifact
from tests.gateway import run_gateway
from tests.integration.conftest import ROOT, run_server
from tests.integration.test_docs import commands
from tests.integration.test_swaps import RED, classify_pb2_grpc


def test_load_label_roll_back_and_unload(tmp_path: Path) -> None:
    for _ in range(2):
        publish_tiny_artifact(tmp_path)
    flags = ("--repository", str(tmp_path), "--model-control", "explicit", "--admin-port", "0")
    flags += ("--response-cache-mb", "1")
    with run_server(*flags) as server, grpc.insecure_channel(server.grpc) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        address = server.admin

        def models(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "client", "models", *arguments, "--server", address]
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

        assert "tiny 1 READY" in models("load", TINY_NAME, "1").stdout
        assert "tiny 2 READY" in models("load", TINY_NAME, "2").stdout
        fresh, known = (stub.Classify(RED, timeout=30) for _ in range(2))
        assert (fresh.model_version, fresh.from_cache) == ("2", False)
        assert (known.model_version, known.from_cache) == ("2", True)
        assert "tiny 1 READY; default" in models("rollback", TINY_NAME).stdout
        rolled_back = stub.Classify(RED, timeout=30)
        assert (rolled_back.model_version, rolled_back.from_cache) == ("1", False)
        as_described = {"pets": TINY_NAME, "3": "1", "4": "2"}
        for command in commands("canary.md", "python -m client models"):
            words = [as_described.get(word, word) for word in shlex.split(command)[3:]]
            with pytest.raises(SystemExit) as ended:  # in this process: eight would start slowly
                client([*words, "--server", address])
            assert not ended.value.code, words
        assert models("label", TINY_NAME, "stable", "1").returncode == 0
        assert models("unload", TINY_NAME, "2").returncode == 0
        refused = models("canary", TINY_NAME, "2", "0.5")
        assert refused.returncode != 0
        assert "is not loaded" in refused.stderr
        on_serving_port = admin_pb2_grpc.AdminServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            on_serving_port.RollBack(admin_pb2.RollBackRequest(name=TINY_NAME), timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with run_gateway(server.grpc, timeout_s=30, admin=address) as url:
            path = f"{url}/v2/repository/models/{TINY_NAME}"
            only_two = {"parameters": {"version": "2"}}
            from_a_page = httpx.post(f"{path}/load", headers={"origin": url}, trust_env=False)
            assert from_a_page.status_code == 403
            assert httpx.post(f"{path}/load", json=only_two, trust_env=False).json() == {}
            assert stub.Classify(RED, timeout=30).model_version == "1"  # as the rollback said
            assert httpx.post(f"{path}/unload", trust_env=False).status_code == 200
            ready = httpx.get(f"{url}/v2/health/ready", trust_env=False)
            assert (ready.status_code, ready.json()) == (503, {"ready": False})
