"""Kubernetes accepts the manifests, their parts fit together and fit what they start."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import kubernetes_validate
import pytest
import yaml

from server.settings import Settings, load_settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "k8s"
OVERLAYS = ("cpu", "gpu", "dev")
COMPONENTS = {"keda": "cpu", "models-oci": "cpu", "models-s3": "cpu", "mig": "gpu", "tls": "cpu"}
KUBERNETES = "1.33"
# Their schemas belong to the operators that bring them.
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}

Document = dict[str, Any]
needs_checkov = pytest.mark.skipif(which("checkov") is None, reason="checkov is not installed")
needs_kubectl = pytest.mark.skipif(which("kubectl") is None, reason="kubectl is not installed")


def documents(path: Path) -> list[Document]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def kustomize(folder: Path) -> list[Document]:
    rendered = subprocess.run(
        [str(which("kubectl")), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rendered.returncode == 0, rendered.stderr
    assert not rendered.stderr  # kustomize warns there of what it deprecates
    return list(yaml.safe_load_all(rendered.stdout))


@cache
def overlay(name: str) -> list[Document]:
    return kustomize(FOLDER / "overlays" / name)


def with_component(folder: Path, name: str) -> list[Document]:
    """An operator's own overlay, that adds a component to one of ours."""
    base = FOLDER / "overlays" / COMPONENTS[name]
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [relative(folder, base)],
                "components": [relative(folder, FOLDER / "components" / name)],
            }
        )
    )
    return kustomize(folder)


def relative(folder: Path, target: Path) -> str:
    return os.path.relpath(target, folder)  # kustomize takes no absolute paths


def one(found: list[Document], kind: str, name: str = "") -> Document:
    (document,) = (
        item for item in found if item["kind"] == kind and name in ("", item["metadata"]["name"])
    )
    return document


def pod_of(found: list[Document]) -> Document:
    return one(found, "Deployment")["spec"]["template"]


def server_of(found: list[Document]) -> Document:
    (container,) = pod_of(found)["spec"]["containers"]
    return container


def check_schemas(found: list[Document]) -> None:
    for document in found:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def settings_of(found: list[Document], folder: Path) -> Settings:
    """What the server makes of the ConfigMap that its pod mounts."""
    volumes = {volume["name"]: volume for volume in pod_of(found)["spec"]["volumes"]}
    config = one(found, "ConfigMap", volumes["settings"]["configMap"]["name"])
    path = folder / "server.toml"
    path.write_text(config["data"]["server.toml"])
    return load_settings(["--config", str(path)])


@pytest.mark.parametrize("path", sorted((FOLDER / "base").glob("*.yaml")), ids=lambda p: p.name)
def test_the_base_follows_its_schemas(path: Path) -> None:
    if path.name != "kustomization.yaml":
        check_schemas(documents(path))


def test_the_validator_sees_a_wrong_key() -> None:
    document = documents(FOLDER / "train-job.yaml")[-1]
    document["spec"]["completion"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="completion"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@needs_kubectl
@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_render_to_what_kubernetes_accepts(name: str) -> None:
    found = overlay(name)
    check_schemas(found)
    assert {item["metadata"].get("namespace", "menagerie") for item in found} == {"menagerie"}
    assert len({(item["kind"], item["metadata"]["name"]) for item in found}) == len(found)


@needs_kubectl
def test_the_readmes_commands_render_a_valid_deployment(tmp_path: Path) -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    render, validate = (
        line.partition("#")[0].replace("dev.yaml", str(tmp_path / "dev.yaml"))
        for line in lines
        if line.startswith(("kubectl kustomize ", "kubernetes-validate "))
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    said = subprocess.run(
        ["/bin/sh", "-c", f"{render} && {validate}"], cwd=ROOT, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "passed for resource deployment/menagerie against version" in said.stdout + said.stderr
    assert "WARN" not in said.stdout + said.stderr


@needs_kubectl
@pytest.mark.parametrize("name", OVERLAYS)
def test_names_and_labels_point_to_what_is_there(name: str) -> None:
    found = overlay(name)
    labels = pod_of(found)["metadata"]["labels"]
    ports = {port["name"] for port in server_of(found)["ports"]}
    for item in found:
        spec = item.get("spec", {})
        if item["kind"] == "Service":
            assert spec["selector"].items() <= labels.items()
            assert {port["targetPort"] for port in spec["ports"]} <= ports
        elif item["kind"] in ("PodDisruptionBudget", "Deployment"):
            assert spec["selector"]["matchLabels"].items() <= labels.items()
        elif item["kind"] == "NetworkPolicy":
            assert spec["podSelector"].get("matchLabels", {}).items() <= labels.items()
        elif item["kind"] == "HorizontalPodAutoscaler":
            assert spec["scaleTargetRef"]["name"] == one(found, "Deployment")["metadata"]["name"]
        elif item["kind"] == "ServiceMonitor":
            headless = one(found, "Service", "menagerie-headless")
            assert spec["selector"]["matchLabels"].items() <= headless["metadata"]["labels"].items()
            assert spec["endpoints"][0]["port"] in {p["name"] for p in headless["spec"]["ports"]}
    pod = pod_of(found)["spec"]
    assert pod["serviceAccountName"] == one(found, "ServiceAccount")["metadata"]["name"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in server_of(found)["volumeMounts"]} == volumes
    claims = {item["metadata"]["name"] for item in found if item["kind"].endswith("Claim")}
    used = [volume["persistentVolumeClaim"] for volume in pod["volumes"] if len(volume) > 1
            and "persistentVolumeClaim" in volume]  # fmt: skip
    assert {claim["claimName"] for claim in used} == claims


@needs_kubectl
@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_have_no_rights_and_no_token(name: str) -> None:
    found = overlay(name)
    pod, server = pod_of(found)["spec"], server_of(found)
    assert pod["automountServiceAccountToken"] is False
    assert one(found, "ServiceAccount")["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert server["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    deny = one(found, "NetworkPolicy", "menagerie-default-deny")["spec"]
    assert not deny.keys() & {"ingress", "egress"}
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}


@needs_kubectl
@pytest.mark.parametrize("name", OVERLAYS)
def test_the_servers_settings_fit_the_pod(name: str, tmp_path: Path) -> None:
    found = overlay(name)
    settings = settings_of(found, tmp_path)
    pod, server = pod_of(found)["spec"], server_of(found)
    assert (settings.host, settings.metrics_host) == ("0.0.0.0", "0.0.0.0")  # noqa: S104
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}
    assert settings.insecure or settings.tls_certificate  # or it would not start
    mounts = {mount["mountPath"] for mount in server["volumeMounts"]}
    assert str(settings.repository) in mounts or name == "dev"
    # SIGKILL must come after the last answer: preStop, then the drain, then the exit.
    stop_s = server["lifecycle"]["preStop"]["sleep"]["seconds"] + settings.grace_period_s
    assert pod["terminationGracePeriodSeconds"] >= stop_s + 5
    if settings.engine != "torchscript":
        assert str(settings.compile_cache.parent) in mounts
        assert not settings.compile_cache_check  # emptyDir is writable by every user
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["grpc"]["port"] == settings.port


@needs_kubectl
def test_the_gpu_overlay_asks_for_one_gpu() -> None:
    found = overlay("gpu")
    server = server_of(found)
    assert server["image"] == "menagerie-server-cuda:0.1.0"
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "MENAGERIE_DEVICE", "value": "cuda"} in server["env"]


@needs_kubectl
@pytest.mark.parametrize("name", COMPONENTS)
def test_components_fit_their_overlay(name: str, tmp_path: Path) -> None:
    found = with_component(tmp_path, name)
    check_schemas(found)
    kinds = {item["kind"] for item in found}
    pod, limits = pod_of(found)["spec"], server_of(found)["resources"]["limits"]
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "models")
    if name == "keda":
        assert "ScaledObject" in kinds
        assert "HorizontalPodAutoscaler" not in kinds  # two would fight
    elif name == "tls":
        assert "PersistentVolumeClaim" in kinds
    elif name == "mig":
        assert "nvidia.com/gpu" not in limits
        assert limits["nvidia.com/mig-1g.18gb"] == "1"
    else:
        assert "PersistentVolumeClaim" not in kinds
        assert volume.keys() == {"name", "image" if name == "models-oci" else "emptyDir"}


@needs_kubectl
def test_models_in_s3_are_kept_where_the_pod_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = with_component(tmp_path, "models-s3")
    server = server_of(found)
    for variable in server["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    settings = settings_of(found, tmp_path)
    assert str(settings.repository) == "s3://bucket/models"
    mount = next(mount for mount in server["volumeMounts"] if mount["name"] == "models")
    assert not mount.get("readOnly")
    assert settings.store_cache is not None
    assert settings.store_cache.is_relative_to(mount["mountPath"])
    secrets = [source["secretRef"]["name"] for source in server["envFrom"]]
    assert secrets == ["menagerie-server", "menagerie-s3"]


@needs_kubectl
def test_the_installation_that_the_docs_show(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    shown = page.partition("```yaml\n")[2].partition("```")[0]
    shown = shown.replace("../deploy/", relative(tmp_path, ROOT / "deploy") + "/")
    (tmp_path / "kustomization.yaml").write_text(shown)
    found = kustomize(tmp_path)
    check_schemas(found)
    server = server_of(found)
    assert server["image"] == "registry.example.org/menagerie-server:0.1.0"
    assert {"name": "MENAGERIE_REPOSITORY", "value": "s3://photos/models"} in server["env"]
    assert "ScaledObject" in {item["kind"] for item in found}


@needs_kubectl
def test_with_tls_the_probes_ask_a_port_that_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = with_component(tmp_path, "tls")
    server = server_of(found)
    for variable in server["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    settings = settings_of(found, tmp_path)
    assert not settings.insecure  # so that it would not start without its certificate
    mounts = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(found)["spec"]["volumes"]}
    for file, key in ((settings.tls_certificate, "tls.crt"), (settings.tls_key, "tls.key")):
        assert file.name == key  # the keys of a Secret of type kubernetes.io/tls
        assert "secret" in volumes[mounts[str(file.parent)]]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports["probe"] == settings.probe_port != settings.port
    plain = server_of(overlay("cpu"))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["grpc"]["port"] == settings.probe_port
        asked = {**plain[probe], "grpc": {**plain[probe]["grpc"], "port": settings.probe_port}}
        assert server[probe] == asked  # all else as without TLS


def checkov(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [str(which("checkov")), "--config-file", str(FOLDER / "checkov.yaml"), "--file"]
    return subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)


@needs_kubectl
@needs_checkov
def test_checkov_finds_nothing_that_is_not_answered(tmp_path: Path) -> None:
    files = [FOLDER / "train-job.yaml", ROOT / "deploy" / "docker" / "Dockerfile"]
    rendered = {name: overlay(name) for name in OVERLAYS}
    for name in COMPONENTS:
        (tmp_path / f"{name}-overlay").mkdir()
        rendered[name] = with_component(tmp_path / f"{name}-overlay", name)
    for name, found in rendered.items():
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump_all(found))
    found = checkov(*files)
    assert found.returncode == 0, found.stdout


@needs_checkov
def test_checkov_sees_what_is_wrong(tmp_path: Path) -> None:
    job = documents(FOLDER / "train-job.yaml")[-1]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["securityContext"]["allowPrivilegeEscalation"] = True
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nUSER root\nEXPOSE 22\n")
    for name, policy in (("job.yaml", "CKV_K8S_20"), ("Dockerfile", "CKV_DOCKER_1")):
        found = checkov(tmp_path / name)
        assert found.returncode != 0
        assert policy in found.stdout
