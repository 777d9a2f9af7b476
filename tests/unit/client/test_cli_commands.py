import inspect
import os
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

import client
from client.cli.commands import COMMANDS, Commands
from client.cli.profiles import KEYS, ProfileError, apply_profile, config_path

ROOT = Path(client.__file__).parents[1]


def first_paragraph(text):
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_help_says_of_a_command_is_what_the_command_says(name):
    command = getattr(import_module(f"client.cli.{name}"), name)
    assert first_paragraph(command.__doc__) == COMMANDS[name].about


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_in_the_help_and_parse(name, cli):
    shown = cli(name, "--help").out
    assert "--tls-ca PEM" in shown  # every command asks a server, with whatever it demands
    group = typer.main.get_command(import_module("client.__main__").app)
    assert isinstance(group, Commands)
    command = group.get_command(None, name)
    for example in COMMANDS[name].examples:
        assert f"  python -m client {example}\n" in shown
        first, *arguments = shlex.split(example.partition(" < ")[0])
        assert first == name
        command.make_context(name, arguments)


def test_every_command_speaks_to_programs(cli):
    models = import_module("client.cli.models").app.registered_commands
    inner = [f"models {command.callback.__name__}" for command in models]
    assert "models canary" in inner
    for name in (*COMMANDS, *inner):
        assert "--json" in cli(*name.split(), "--help").out, name


@pytest.mark.parametrize("words", [["--help"], []])
def test_help_loads_nothing_that_is_slow(words):
    slow = {"grpc", "google", "proto", "rich", "pydantic", "asyncio", "numpy", "PIL", "torch"}
    program = (
        f"import sys\nfrom client.__main__ import app\n"
        f"try: app({words})\nexcept SystemExit: pass\n"
        f"print('LOADED', *sorted({slow} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Classify images." in run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "LOADED"


def test_completion_of_commands_and_options():
    for words, wanted in (("doc", "doctor"), ("health --wa", "--wait")):
        environment = {
            **os.environ,
            "_PYTHON_M_CLIENT_COMPLETE": "complete_bash",
            "_MENAGERIE_COMPLETE": "complete_bash",
            "COMP_WORDS": f"menagerie {words}",
            "COMP_CWORD": str(len(words.split())),
        }
        program = "import sys; sys.argv[0] = 'menagerie'; from client.__main__ import main; main()"
        run = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert wanted in run.stdout.split()


@pytest.fixture
def config(tmp_path, monkeypatch):
    path = tmp_path / "client.toml"
    monkeypatch.setenv("MENAGERIE_CLIENT_CONFIG", str(path))
    for variable in KEYS.values():
        monkeypatch.delenv(variable, raising=False)
    return path


def test_a_profile_names_the_server(config, server, cli, monkeypatch):
    config.write_text(f'[profiles.here]\nserver = "{server.address}"\ntls = false\n')
    for variable in KEYS.values():  # which the command changes, and the test puts back
        monkeypatch.setenv(variable, "")
    result = cli("--profile", "here", "health")
    assert (result.code, "SERVING" in result.out) == (0, True)
    missing = cli("--profile", "there", "health")
    assert missing.code == 2
    assert "'there'; it has: here" in " ".join(missing.err.split())


def test_who_wins(config):
    config.write_text('profile = "lab"\n[profiles.lab]\nserver = "lab:1"\nca = "~/ca.pem"\n')
    base = {"MENAGERIE_CLIENT_CONFIG": str(config)}
    found = dict(base)
    apply_profile("", found)
    assert found["MENAGERIE_SERVER"] == "lab:1"
    assert found["MENAGERIE_CA"] == str(Path.home() / "ca.pem")
    mine = {**base, "MENAGERIE_SERVER": "mine:1"}
    apply_profile("", mine)
    assert mine["MENAGERIE_SERVER"] == "mine:1"  # the default profile gives way
    apply_profile("lab", mine)
    assert mine["MENAGERIE_SERVER"] == "lab:1"  # one that is named does not


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("profile = [", "nvalid"),
        ("[profiles.lab]\nsever = 'x:1'\n", "'sever'; known are server"),
        ("profiles = 3\n", "has no profile 'lab'"),
    ],
)
def test_a_file_that_is_wrong_is_told(config, text, told):
    config.write_text(text)
    with pytest.raises(ProfileError) as caught:
        apply_profile("lab", {"MENAGERIE_CLIENT_CONFIG": str(config)})
    assert told in str(caught.value)
    assert str(config) in str(caught.value)


def test_no_file_is_no_profile(config):
    apply_profile("", {"MENAGERIE_CLIENT_CONFIG": str(config)})
    with pytest.raises(ProfileError):
        apply_profile("lab", {"MENAGERIE_CLIENT_CONFIG": str(config)})
    assert config_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/menagerie/client.toml")


def test_help_fits_a_terminal_of_80_columns(cli):
    pages = [cli("--help").out, *(cli(name, "--help").out for name in COMMANDS)]
    for page in pages:
        wide = [line for line in page.splitlines() if len(line) > 80]
        assert all(line.startswith("    python -m client ") for line in wide), wide
    assert "wait until they are READY." in " ".join(cli("models", "--help").out.split())


@pytest.mark.parametrize(
    "command",
    [
        "classify photo.jpg",
        "doctor",
        "feedback id cat",
        "health",
        "models",
        "models load name 1",
        "models watch",
        "plan --rps 1 --p99 100ms",
        "trace id",
        "watch .",
    ],
)
def test_a_certificate_that_is_missing_is_a_mistake_of_the_command_line(command, cli, tmp_path):
    group, *rest = command.split()
    ended = cli(group, *rest, "--tls-ca", tmp_path / "missing.pem")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("missing.pem: No such file or directory.\n")
