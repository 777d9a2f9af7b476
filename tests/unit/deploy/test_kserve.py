"""KServe's manifests follow its types and Kubernetes', and the server takes their flags."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from server.settings import load_settings
from tests.unit.deploy.test_manifests import KUBERNETES, ROOT, Document

FOLDER = ROOT / "deploy" / "kserve"
SCHEMA = json.loads(Path(__file__).with_name("kserve.schema.json").read_text(encoding="utf-8"))
KSERVE = "MENAGERIE_KSERVE_PYTHON"  # as in tests/integration/test_oip.py
NAMES = {
    "serving-runtime": "V1alpha1ServingRuntime",
    "inference-service": "V1beta1InferenceService",
}


def manifest(name: str) -> Document:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def check(document: Document, kind: str) -> None:
    schema = {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}
    jsonschema.validate(document, schema)


def container() -> dict[str, Any]:
    (found,) = manifest("serving-runtime")["spec"]["containers"]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_manifests_follow_kserves_types(name: str) -> None:
    check(manifest(name), NAMES[name])


@pytest.mark.parametrize(
    ("name", "place"),
    [("serving-runtime", ("spec",)), ("inference-service", ("spec", "predictor", "model"))],
)
def test_a_wrong_key_is_seen(name: str, place: tuple[str, ...]) -> None:
    document = inner = manifest(name)
    for key in place:
        inner = inner[key]
    inner["protocolVersionz"] = "grpc-v2"
    with pytest.raises(jsonschema.ValidationError, match="protocolVersionz"):
        check(document, NAMES[name])


def test_the_runtimes_pod_is_one_for_kubernetes() -> None:
    spec = manifest("serving-runtime")["spec"]
    pod = {key: spec[key] for key in ("containers", "volumes")}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
    kubernetes_validate.validate(document, KUBERNETES, strict=True)
    mounted = {mount["name"] for mount in container()["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_the_server_takes_the_runtimes_flags() -> None:
    settings = load_settings(container()["args"])
    (port,) = container()["ports"]
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    assert {container()[probe]["grpc"]["port"] for probe in probes} == {settings.port}
    assert port["containerPort"] == settings.port
    assert settings.repository == Path("/mnt/models")
    annotations = manifest("serving-runtime")["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == str(settings.metrics_port)


def test_the_service_asks_for_what_the_runtime_offers() -> None:
    runtime, model = manifest("serving-runtime"), manifest("inference-service")
    wanted = model["spec"]["predictor"]["model"]
    assert wanted["runtime"] == runtime["metadata"]["name"]
    assert wanted["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = {each["name"] for each in runtime["spec"]["supportedModelFormats"]}
    assert wanted["modelFormat"]["name"] in formats
    # KServe puts settings into the container of this name.
    assert container()["name"] == "kserve-container"


@pytest.mark.skipif(
    KSERVE not in os.environ, reason=f"{KSERVE} names no interpreter that has kserve"
)
def test_the_schema_is_what_kserves_types_say() -> None:
    script = Path(__file__).with_name("kserve_schema.py")
    command = [os.environ[KSERVE], script]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(said) == SCHEMA
