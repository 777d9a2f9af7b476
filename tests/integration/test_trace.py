"""What stands behind an answer."""

import json
import subprocess
import sys

import pytest

from client import Client, NotFoundError
from models.repository import ModelRepository
from tests.integration.conftest import ROOT, ZOO, Server


def run_trace(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "client", "trace", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_an_answer_leads_to_its_model_data_and_recipe(server: Server, cat: bytes) -> None:
    with Client(server.grpc) as client:
        answer = client.classify(cat)
        again = client.answer(answer.request_id)
        with pytest.raises(NotFoundError):
            client.answer("never asked")
    assert again == answer
    done = run_trace(answer.request_id, "--json", "--server", server.grpc)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    manifest = ModelRepository(ZOO).read(answer.model, int(answer.version)).manifest
    assert found["digest"] == answer.digest == found["behind"]["digest"]
    assert found["behind"]["data_fingerprint"] == manifest.data_fingerprint
    assert found["behind"]["recipe"] == manifest.recipe
    assert found["behind"]["libraries"] == manifest.libraries
    people = run_trace(answer.request_id, "--server", server.grpc)
    assert manifest.data_fingerprint in people.stdout
    assert "cats-vs-dogs-small" in people.stdout
    assert run_trace("never-asked", "--server", server.grpc).returncode == 4
