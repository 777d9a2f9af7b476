"""The Dockerfile, as far as that goes without a container engine."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns, which

import pytest

from client.cli.commands import COMMANDS
from models.repository import ModelRepository
from server.settings import load_settings

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8")
HADOLINT = which("hadolint", path=str(Path(sys.executable).parent)) or which("hadolint")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing() -> None:
    found = subprocess.run(
        [str(HADOLINT), str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


def health_check() -> list[str]:
    """The image's own command that says whether it serves."""
    (command,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.+\])$", TEXT, re.MULTILINE)
    found: list[str] = json.loads(command)
    return found


def copied(stage: str) -> list[str]:
    """What a stage copies from the context."""
    text = TEXT.partition(f" AS {stage}\n")[2].partition("\nFROM ")[0]
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def lay_out(stage: str, folder: Path) -> None:
    """Copy into `folder` what a stage copies, and nothing else."""
    for name in copied(stage):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            copytree(ROOT / name, folder / name, ignore=ignore_patterns("__pycache__"))
        else:
            (folder / name).write_bytes((ROOT / name).read_bytes())


def test_everything_copied_exists_and_is_sent_to_the_builder() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    stages = re.findall(r"^FROM \S+ AS (\S+)$", TEXT, re.MULTILINE)
    sources = {source for stage in stages for source in copied(stage)}
    assert "constraints.txt" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed, f".dockerignore keeps {source} out"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built as the image builds it, from what is copied and nothing else."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    lay_out("wheel", source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    built = subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(out), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_holds_every_module_and_the_bundled_models(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for room in ("proto", "models", "trainer", "server", "client"):
        for path in (ROOT / room).rglob("*.py"):
            assert path.relative_to(ROOT).as_posix() in names, "missing in tool.setuptools.packages"
    zoo = ModelRepository(ROOT / "models" / "zoo")
    for model in zoo.models():
        assert f"models/zoo/{model}/{zoo.versions(model)[-1]}/model.pt" in names


def test_the_extras_that_the_images_install_exist(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    known = re.findall(r"^Provides-Extra: (.+)$", wheel.read(metadata).decode(), re.MULTILINE)
    asked = {
        extra for extras in re.findall(r"\)\[([a-z,]+)\]", TEXT) for extra in extras.split(",")
    }
    assert {"server", "stores", "tracing", "gpu", "trainer", "web"} == asked <= set(known)


def test_the_images_of_clients_have_no_models_in_them() -> None:
    for image in ("client", "web"):
        assert f"FROM light-environment AS {image}-environment" in TEXT
        assert f"--from={image}-environment" in TEXT
    assert {"pyproject.toml", "client", "proto"} < set(copied("client-wheel"))
    assert "models" not in copied("client-wheel")


def test_the_images_environment_is_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = dict(re.findall(r"(MENAGERIE_\w+)=(\S+)", TEXT))
    assert variables
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_settings([])
    assert (settings.host, settings.metrics_host) == ("0.0.0.0", "0.0.0.0")  # noqa: S104
    assert TEXT.count(f"EXPOSE {settings.port} {settings.metrics_port}") == 1
    assert health_check()[-1] == f"127.0.0.1:{settings.probe_port}"
    # The port that the documents give to administration is free.
    assert f":{settings.probe_port}" not in " ".join(COMMANDS["models"].examples)


def test_nothing_runs_as_root() -> None:
    stages = TEXT[TEXT.index("AS runtime") :]
    users = re.findall(r"^(FROM \w+|USER .+)", stages, re.MULTILINE)
    assert users[0] == "USER 10001:10001"
    # Whoever becomes root to install something gives it up in the same stage.
    assert all(users[i + 1] == "USER 10001:10001" for i, u in enumerate(users) if u == "USER 0")
