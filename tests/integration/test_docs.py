"""What the documents show is run, against a real server."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from client.cli.profiles import apply_profile
from proto.npm import NpmError, installed
from server.settings import load_settings
from tests.gateway import run_gateway
from tests.integration.conftest import ROOT, Server, run_server

DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What they say that does not end by itself, or takes as long as it is told to.
_ENDLESS = ("watch", " web", "--undo")
_LONG = ("bench",)
# MENAGERIE_ALL_DOCS=1 runs these, too.
_ALL = os.environ.get("MENAGERIE_ALL_DOCS") == "1"
needs_time = pytest.mark.skipif(not _ALL, reason="takes a minute: MENAGERIE_ALL_DOCS=1")


def blocks(document: str, kind: str) -> Iterator[str]:
    for found, text in _BLOCK.findall((DOCS / document).read_text()):
        if found == kind:
            yield text


def commands(document: str, start: str = "python -m client") -> Iterator[str]:
    left_out = _ENDLESS if _ALL else (*_ENDLESS, *_LONG)
    for kind in ("", "bash"):
        for block in blocks(document, kind):
            for line in block.splitlines():
                said = line.removeprefix("$ ").partition(" #")[0].strip()
                if said.startswith(start) and not any(no in said for no in left_out):
                    yield said


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def run(place: Path, server: Server, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MENAGERIE_SERVER": server.grpc}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_examples_of_the_sdk(server: Server, place: Path) -> None:
    examples = list(blocks("sdk.md", "python"))
    assert len(examples) == 7
    for example in examples:
        run(place, server, "-c", example.replace("127.0.0.1:50051", server.grpc))


def test_the_example_of_the_readme(server: Server, place: Path) -> None:
    (example,) = blocks("../README.md", "python")
    (place / "photo.jpg").symlink_to(ROOT / "examples/photos/cat.2000.jpg")
    run(place, server, "-c", example.replace("127.0.0.1:50051", server.grpc))


def test_the_profiles_that_are_shown(tmp_path: Path) -> None:
    (shown,) = blocks("cli.md", "toml")
    (tmp_path / "client.toml").write_text(shown)
    for name, server in (("", "lab.example.org:443"), ("here", "127.0.0.1:50051")):
        found = {"MENAGERIE_CLIENT_CONFIG": str(tmp_path / "client.toml")}
        apply_profile(name, found)
        assert found["MENAGERIE_SERVER"] == server


@pytest.mark.parametrize("document", ["canary.md", "models.md"])
def test_the_settings_that_are_shown(tmp_path: Path, document: str) -> None:
    (shown,) = blocks(document, "toml")
    (tmp_path / "server.toml").write_text(shown)
    settings = load_settings(["--config", str(tmp_path / "server.toml")])
    assert settings.version_policy == "latest:2"
    assert "stable" in {model.default_label for model in settings.models.values()}


@pytest.mark.parametrize(
    "document",
    ["cli.md", "folders.md", "tutorial.md", pytest.param("load.md", marks=needs_time)],
)
def test_the_commands(server: Server, place: Path, document: str) -> None:
    (place / "photos").symlink_to(ROOT / "examples" / "photos")  # the tutorial's
    shown = list(commands(document))
    assert shown
    for command in shown:
        run(place, server, *shlex.split(command)[1:])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_is_asked_over_http(server: Server, place: Path) -> None:
    shown = list(commands("web.md", "curl"))
    assert len(shown) == 5
    with run_gateway(server.grpc, timeout_s=20) as url:
        for command in shown:
            words = shlex.split(command.replace("http://127.0.0.1:8080", url))
            answered = subprocess.run(
                [*words, "--silent", "--fail-with-body", "--noproxy", "*"],
                cwd=place, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert answered.returncode == 0, answered.stdout
            assert json.loads(answered.stdout)


@pytest.fixture(scope="module")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the example in Node.js, copied elsewhere as its README says."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")
    source = ROOT / "examples" / "node"
    try:
        modules = installed(source, ROOT / "build" / "node")
    except NpmError as error:
        pytest.skip(f"Node.js example: {error}")
    place = tmp_path_factory.mktemp("node")
    shutil.copytree(source / "google", place / "google")
    for name in ("classify.js", "package.json"):
        shutil.copy(source / name, place)
    (place / "node_modules").symlink_to(modules)
    return [node, str(place / "classify.js")]


def test_the_example_in_node_classifies_and_says_what_is_wrong(
    server: Server, node_example: list[str], tmp_path: Path
) -> None:
    photo, broken = ROOT / "examples" / "photos" / "cat.2000.jpg", tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    result = subprocess.run(
        [*node_example, "--server", server.grpc, str(photo), str(broken)],
        env={**os.environ, "MENAGERIE_PROTO": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    path, label, score = result.stdout.rstrip("\n").split("\t")
    assert (path, label) == (str(photo), "cat")
    assert 0.9 < float(score) <= 1
    assert f"{broken}\tINVALID_ARGUMENT: image" in result.stderr
    assert result.returncode == 1


def test_the_examples_copy_of_googles_file_is_googles() -> None:
    path = "google/rpc/status.proto"
    installed_file = resources.files("google.rpc").joinpath("status.proto")
    assert (ROOT / "examples" / "node" / path).read_text() == installed_file.read_text()


def cells(tag: str) -> Iterator[str]:
    """Yield the code of the tutorial's notebook that bears a tag."""
    notebook = json.loads((ROOT / "examples" / "tutorial.ipynb").read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and tag in cell["metadata"]["tags"]:
            yield "".join(cell["source"])


def test_what_the_notebook_asks_of_its_server(server: Server, place: Path) -> None:
    """`make notebook` runs the whole: training takes longer than a test may."""
    (place / "photos" / "cat").mkdir(parents=True)
    (place / "photos" / "cat" / "one.jpg").symlink_to(ROOT / "examples/photos/cat.2000.jpg")
    start = f"from pathlib import Path\nphotos, address = Path('photos'), {server.grpc!r}\n"
    asked = list(cells("ask"))
    assert len(asked) == 2
    run(place, server, "-c", "\n".join([start, *cells("imports"), *asked]))


def test_mutual_tls_as_it_is_described(tiny_repository: str, tmp_path: Path) -> None:
    making, serving, asking = blocks("mtls.md", "bash")
    for line in making.splitlines():
        subprocess.run(shlex.split(line), cwd=tmp_path, check=True, capture_output=True)
    (clients,) = blocks("mtls.md", "toml")
    (tmp_path / "clients.toml").write_text(clients)
    flags = [
        str(tmp_path / word) if "." in word and (tmp_path / word).exists() else word
        for word in shlex.split(serving)[3:]
    ]
    flags[flags.index("--host") + 1] = "127.0.0.1"
    with run_server("--repository", tiny_repository, *flags) as server:
        run(tmp_path, server, *shlex.split(asking)[1:])
