import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import client
from client.counting import counted
from proto.classify.v1 import model_pb2

ROOT = Path(client.__file__).parents[1]


@pytest.fixture
def server(server):
    server.models.append(model_pb2.Model(name="pets", version="1"))
    return server


def command(server, *arguments):
    own = [sys.executable, "-m", "client", "bench", "--server", server.address]
    return [*own, *map(str, arguments)]


def test_a_closed_loop_of_so_many_calls(server, cli, photos, tmp_path):
    images = photos(cat=b"cat", dog=b"dog")
    file = tmp_path / "figures.json"
    result = cli(
        *("bench", *images, "--calls", "20", "-c", "4", "--warm-up", "0", "--processes", "2"),
        *("--json", file, "--server", server.address),
    )
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("20 requests in ")
    assert "20 OK" in result.out
    assert "mean batch 4.0" in result.out
    assert "up to" not in result.out  # the histogram is for terminals
    figures = json.loads(file.read_text())
    assert (figures["requests"], figures["statuses"]) == (20, {"OK": 20})
    assert figures["answered_ms"]["count"] == 20
    assert figures["settings"]["model"] == "pets 1"
    assert figures["settings"]["in_flight"] == 4
    assert figures["photos"]["count"] == 2
    asked = [request.image.encoded for request in server.requests[1:]]
    assert len(asked) == 20
    assert asked.count(b"cat") == 10  # two processes take 5 of each


def test_refusals_are_counted_and_the_exit_code_says_that_nothing_was_answered(server, cli, photos):
    (bad,) = photos(bad=b"not an image")
    result = cli(
        *("bench", bad, "--rate", "200", "--calls", "6", "--warm-up", "0", "--json", "-"),
        *("--deadline-ms", "5000", "--server", server.address),
    )
    figures = json.loads(result.out)
    assert result.code == 1
    assert figures["statuses"] == {"INVALID_ARGUMENT": 6}
    assert (figures["answered_ms"], figures["failed_ms"]["count"]) == (None, 6)
    assert figures["lag_ms"]["count"] == 6
    assert figures["settings"]["deadline_ms"] == 5000
    assert figures["settings"]["arrivals"] == "poisson"


def test_a_terminal_gets_a_histogram(server, photos):
    ours, theirs = pty.openpty()
    (cat,) = photos(cat=b"cat")
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        command(server, cat, "--calls", 30, "--warm-up", 0),
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux's end of a terminal
        pass
    os.close(ours)
    assert process.wait(timeout=30) == 0
    text = shown.decode()
    assert "30 requests in " in text
    assert "up to" in text
    assert "█" in text


def test_ctrl_c_reports_what_it_has(server, photos, tmp_path):
    (cat,) = photos(cat=b"cat")
    file = tmp_path / "figures.json"
    process = subprocess.Popen(
        command(server, cat, "-d", 3600, "--warm-up", 0, "-c", 2, "--json", file),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    assert server.called.wait(60)
    server.called.clear()  # the next call means that a call before it was answered
    for _ in range(4):
        assert server.called.wait(60)
        server.called.clear()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("Interrupted: ")
    assert "Traceback" not in err
    figures = json.loads(file.read_text())
    assert figures["interrupted"]
    assert figures["requests"] >= 1
    assert f"{counted(figures['requests'], 'request')} in " in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.jpg"], 4, "no such file"),
        (["--rate", "5", "--in-flight", "5", "x.jpg"], 2, "exclude each other"),
        (["--version", "5", "--label", "latest", "x.jpg"], 2, "exclude each other"),
        (["--rate", "0", "x.jpg"], 2, "--rate"),
    ],
)
def test_what_cannot_be_done(server, cli, arguments, code, message):
    result = cli("bench", *arguments, "--server", server.address)
    assert result.code == code
    assert message in result.err
    assert "answered" not in result.err  # the server was not asked


def test_no_server(nobody, cli, photos):
    result = cli("bench", *photos(cat=b"cat"), "--server", nobody)
    assert result.code == 3
    assert "python -m server" in result.err


def test_without_hdrhistogram(cli, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdrh", None)
    result = cli("bench", *photos(cat=b"cat"))
    assert result.code == 2
    assert "pip install 'menagerie[bench]'" in result.err
