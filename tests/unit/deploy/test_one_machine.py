"""compose.yaml, the blueprint and the systemd unit fit what they start."""

import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
import typer
import yaml

from client.__main__ import app
from server.settings import load_settings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
BLUEPRINT = yaml.safe_load((DEPLOY / "render.yaml").read_text(encoding="utf-8"))["services"]


def settings(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings([])


def web_options(arguments: list[str]) -> dict[str, object]:
    """What ``menagerie web`` makes of its arguments."""
    group = typer.main.get_command(app)
    web = group.get_command(typer.Context(group), "web")  # type: ignore[attr-defined]
    return web.make_context("web", list(arguments)).params


def test_what_compose_builds_and_mounts_is_there() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        build = service.get("build")
        if build:
            assert f" AS {build['target']}\n" in DOCKERFILE
            assert (DEPLOY / build["context"]).resolve() == ROOT
            assert (ROOT / build["dockerfile"]).is_file()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), source
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        assert set(service.get("depends_on", ())) <= services.keys()


def test_compose_starts_a_server_that_others_find(monkeypatch: pytest.MonkeyPatch) -> None:
    server, web = COMPOSE["services"]["server"], COMPOSE["services"]["web"]
    found = settings(server["environment"], monkeypatch)
    assert found.insecure
    assert server["ports"] == [f"127.0.0.1:{found.port}:{found.port}"]
    assert int(server["stop_grace_period"].rstrip("s")) > found.grace_period_s
    assert web_options(web["command"])["server"] == f"server:{found.port}"
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    assert prometheus["scrape_configs"][0]["static_configs"] == [
        {"targets": [f"server:{found.metrics_port}"]}
    ]


def test_grafana_finds_its_source_and_dashboards() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards.yaml").read_text())["providers"]
    mounts = [volume.split(":") for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in {parts[1] for parts in mounts}


def test_the_blueprints_programs_take_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    server, web = BLUEPRINT
    variables = {item["key"]: item["value"] for item in server["envVars"]}
    assert settings({k: v for k, v in variables.items() if k != "PORT"}, monkeypatch).insecure
    assert variables["PORT"] == str(load_settings([]).port)
    assert (ROOT / server["dockerfilePath"]).is_file()
    program, command, *arguments = web["startCommand"].split()
    assert (program, command) == ("menagerie", "web")
    filled = [argument.replace("$PORT", "80").replace("$MENAGERIE_SERVER", "host:50051")
              for argument in arguments]  # fmt: skip
    assert web_options(filled)["server"] == "host:50051"


@pytest.mark.skipif(which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    unit = tmp_path / "menagerie.service"
    text = (DEPLOY / "systemd" / "menagerie.service").read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/menagerie/bin/python", sys.executable))

    def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(which("systemd-analyze")), *arguments, str(unit)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    verified = analyze("verify")
    assert (verified.returncode, verified.stderr) == (0, "")
    # Exposure from 0 to 10, times 10: "OK" ends at 5.0, most services stand at 9.
    secure = analyze("security", "--offline=true", "--threshold=25")
    assert secure.returncode == 0, secure.stdout
