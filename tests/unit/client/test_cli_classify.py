import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.cells import cell_len

import client
from client.cli.table import bar, waterfall
from client.cli.text import printable
from client.results import Timings
from proto.classify.v1 import classify_pb2

ROOT = Path(client.__file__).parents[1]


def objects(result):
    return [json.loads(line) for line in result.out.splitlines()]


def test_a_table(server, cli, photos):
    cat, dog = photos(cat=b"cat", dog=b"dog")
    result = cli("classify", cat, dog, "--server", server.address)
    assert result.code == 0
    assert result.err == ""
    lines = result.out.splitlines()
    assert lines[0] == f"{cat}  pets 1"
    assert lines[1].split() == ["Cat", "90.0%", bar(0.9, unicode=True)]
    assert lines[2].split() == ["Dog", "10.0%", bar(0.1, unicode=True)]
    assert lines[3] == f"{dog}  pets 1"
    assert "\x1b" not in result.out


def test_verbose_shows_the_timings(server, cli, photos):
    (cat,) = photos(cat=b"cat")
    table = cli("classify", cat, "-v", "--server", server.address)
    lines = [line.split() for line in table.out.splitlines()[3:]]
    assert [line[:3] for line in lines[:4]] == [
        ["decode", "1.5", "ms"],
        ["queue", "0.2", "ms"],
        ["engine", "8.0", "ms"],
        ["rest", "0.2", "ms"],
    ]
    (network, on_the_way), (total, in_all) = (line[:2] for line in lines[4:])
    assert (network, total) == ("network", "total")
    assert float(in_all) == pytest.approx(9.9 + float(on_the_way), abs=0.11)
    assert "batch of 4" in table.out
    (line,) = objects(cli("classify", cat, "-v", "--json", "--server", server.address))
    assert line["timings"]["engine_us"] == 8000
    assert line["request_id"]
    assert line["round_trip_us"] > 0


def test_json(server, cli, photos):
    (cat,) = photos(cat=b"cat")
    result = cli("classify", "--json", cat, "--server", server.address)
    assert result.code == 0
    assert objects(result) == [
        {
            "path": str(cat),
            "model": "pets",
            "version": "1",
            "predictions": [
                {"label": "cat", "display_name": "Cat", "score": 0.9},
                {"label": "dog", "display_name": "Dog", "score": 0.1},
            ],
        }
    ]


def test_options_reach_the_server(server, cli, photos):
    (cat,) = photos(cat=b"cat")
    cli(
        *("classify", cat, "--model", "pets", "--version", "3", "-k", "2"),
        *("--min-score", "0.25", "--server", server.address),
    )
    cli("classify", cat, "--label", "latest", "--server", server.address)
    first, second = server.requests
    assert (first.model.name, first.model.version) == ("pets", "3")
    assert (first.top_k, first.min_score) == (2, 0.25)
    assert second.model.version_label == "latest"
    assert not second.HasField("top_k")


def test_the_server_from_the_environment(server, cli, photos, monkeypatch):
    monkeypatch.setenv("MENAGERIE_SERVER", server.address)
    assert cli("classify", *photos(cat=b"cat")).code == 0
    monkeypatch.setenv("MENAGERIE_SERVER", "nonsense")
    assert cli("classify", "cat.jpg").code == 2


def test_standard_input(server, cli):
    result = cli("classify", "-", "--json", "--server", server.address, stdin=b"cat")
    (line,) = objects(result)
    assert (line["path"], line["predictions"][0]["label"]) == ("-", "cat")
    empty = cli("classify", "-", "--server", server.address, stdin=b"")
    assert (empty.code, empty.err) == (1, "-: the file is empty\n")


def test_each_failure_has_its_message_and_the_others_go_on(server, cli, photos, tmp_path):
    text, empty, cat = photos(text=b"not an image", empty=b"", z_cat=b"cat")
    (tmp_path / "sub").mkdir()
    arguments = (text, tmp_path / "nope.jpg", empty, tmp_path / "sub", cat)
    table = cli("classify", *arguments, "--server", server.address)
    assert table.code == 1
    assert table.err.splitlines() == [
        f"{text}: image.encoded is no JPEG, PNG or WebP",
        f"{tmp_path / 'nope.jpg'}: no such file",
        f"{empty}: the file is empty",
        f"{tmp_path / 'sub'}: the directory holds no image (.jpg, .jpeg, .png, .webp)",
        "4 of 5 images failed.",
    ]
    assert str(cat) in table.out
    lines = objects(cli("classify", "--json", *arguments, "--server", server.address))
    assert [line["path"] for line in lines] == list(map(str, arguments))
    assert [line.get("error", {}).get("code") for line in lines] == [
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        None,
    ]
    assert lines[0]["error"]["field"] == "image.encoded"


def test_a_directory_comes_in_order_although_answers_do_not(server, cli, tmp_path):
    for index in range(100):
        (tmp_path / f"{index:03}.png").write_bytes(b"cat")

    def stream(requests, _context):
        waiting = []
        for request in requests:
            waiting.append(request)
            if len(waiting) == 4:
                for late in reversed(waiting):
                    yield classify_pb2.ClassifyStreamResponse(result=server.result(late))
                waiting = []

    server.stream = stream
    result = cli("classify", tmp_path, "--json", "--server", server.address)
    assert result.code == 0
    paths = [line["path"] for line in objects(result)]
    assert paths == sorted(paths)
    assert len(paths) == 100


@pytest.mark.parametrize("as_json", [False, True])
def test_the_server_is_down(cli, photos, nobody, as_json):
    cat, dog = photos(cat=b"cat", dog=b"dog")
    result = cli("classify", cat, dog, *(["--json"] * as_json), "--server", nobody)
    assert result.code == 3
    assert result.err == (
        f"Error: Cannot reach a server at {nobody} (connection refused). Start one with "
        "`make serve` or `python -m server`, or name another with --server HOST:PORT.\n"
    )
    if as_json:
        lines = objects(result)
        assert lines[0]["path"] == str(cat)
        assert {line["error"]["code"] for line in lines} == {"UNAVAILABLE"}
    else:
        assert result.out == ""


def test_the_server_does_not_answer(server, cli, photos):
    def silent(requests, _context):
        next(requests)
        server.released.wait()
        yield classify_pb2.ClassifyStreamResponse()

    server.stream = silent
    cat = photos(cat=b"cat")[0]
    result = cli("classify", cat, "--timeout", "0.2", "--server", server.address)
    assert result.code == 3
    assert f"{server.address} did not answer within 0.2 s" in result.err


@pytest.mark.parametrize(
    ("code", "message", "field", "hint"),
    [
        ("NOT_FOUND", "model.name: no model nope", "model.name", "python -m client models"),
        ("INVALID_ARGUMENT", "top_k must be 1 to 1000", "top_k", "INVALID_ARGUMENT"),
        ("INVALID_ARGUMENT", "min_score is NaN", "request.min_score", "INVALID_ARGUMENT"),
        ("UNAUTHENTICATED", "who are you", "", "UNAUTHENTICATED"),
    ],
)
def test_a_refusal_of_all_images_is_told_once(
    server, cli, photos, make_status, *, code, message, field, hint
):
    refusal = make_status(code, message, field=field)
    server.item_errors = {b"cat": refusal, b"dog": refusal}
    paths = photos(cat=b"cat", dog=b"dog")
    result = cli("classify", *paths, "--server", server.address)
    assert (result.code, result.out) == (4, "")
    assert result.err.count(message) == 1
    assert hint in result.err
    lines = objects(cli("classify", "--json", *paths, "--server", server.address))
    assert lines[0]["error"]["code"] == code


@pytest.mark.parametrize("field", ["image", "image.encoded", "request.image.raw", "items[0].image"])
def test_a_refusal_of_one_image_is_not(server, cli, photos, make_status, field):
    server.item_errors = {b"cat": make_status("INVALID_ARGUMENT", "broken", field=field)}
    result = cli("classify", *photos(cat=b"cat", dog=b"dog"), "--server", server.address)
    assert result.code == 1
    assert "Dog" in result.out


def test_a_busy_server(server, cli, photos, make_status):
    server.item_errors = {b"cat": make_status("UNAVAILABLE", "draining", reason="DRAINING")}
    result = cli("classify", *photos(cat=b"cat", dog=b"dog"), "--server", server.address)
    assert result.code == 3
    assert "cat.jpg: draining" in result.err
    assert "Dog" in result.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify",),
        ("classify", "x.jpg", "--server", "nowhere"),
        ("classify", "x.jpg", "--timeout", "0"),
        ("classify", "x.jpg", "--timeout", "nan"),
        ("classify", "x.jpg", "--top-k", "many"),
        ("classify", "x.jpg", "--version", "1", "--label", "latest"),
        ("classify", "x.jpg", "--nonsense"),
        ("nonsense",),
    ],
)
def test_a_wrong_command_line(cli, arguments):
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: " in result.err


def test_top_k_that_no_message_can_say(server, cli, photos):
    arguments = ("--top-k", str(2**40), "--server", server.address)
    result = cli("classify", *photos(cat=b"cat"), *arguments)
    assert result.code == 4
    assert "top_k" in result.err


def test_help_tells_the_exit_codes(cli):
    for command in ((), ("classify",), ("models",), ("health",)):
        result = cli(*command, "--help")
        assert result.code == 0
        assert "  3    the server is out of reach" in result.out


@pytest.mark.parametrize("as_json", [False, True])
def test_odd_names_do_no_harm(server, cli, tmp_path, as_json):
    names = [
        "[red]cat[bold].jpg",
        "\x1b[31mcat\x1b[0m.jpg",
        "line\nbreak.jpg",
        "\u202ereversed.jpg",
        "\x9bcsi.jpg",
        "köln 猫 :cat:.jpg",
        os.fsdecode(b"latin-\xe9.jpg"),
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"cat")
    (tmp_path / "not\x1b[31m[red].jpg").write_bytes(b"not an image")
    result = cli("classify", tmp_path, *(["--json"] * as_json), "--server", server.address)
    assert result.code == 1
    shown = result.out + result.err
    shown.encode("utf-8")
    assert all(c.isprintable() or c == "\n" for c in shown)
    if as_json:
        paths = {line["path"] for line in objects(result)}
        assert str(tmp_path / "\x1b[31mcat\x1b[0m.jpg") in paths
        assert str(tmp_path / "latin-\\udce9.jpg") in paths
    else:
        assert str(tmp_path / "[red]cat[bold].jpg") in result.out
        assert str(tmp_path / "köln 猫 :cat:.jpg") in result.out
        assert str(tmp_path / "latin-\\udce9.jpg") in result.out
        assert "\\x1b[31mcat" in result.out


def test_what_the_server_says_does_no_harm(server, cli, photos, make_status):
    label = classify_pb2.Prediction(id="x", display_name="[b]\x1b[31mred", score=2.5)
    nan = classify_pb2.Prediction(id="n", score=float("nan"))

    def stream(requests, _context):
        for request in requests:
            answer = classify_pb2.ClassifyResponse(
                request_id=request.request_id, predictions=[label, nan]
            )
            result = classify_pb2.ClassifyResult(request_id=request.request_id, response=answer)
            yield classify_pb2.ClassifyStreamResponse(result=result)

    server.stream = stream
    (cat,) = photos(cat=b"cat")
    table = cli("classify", cat, "--server", server.address)
    assert "[b]\\x1b[31mred" in table.out
    (line,) = objects(cli("classify", cat, "--json", "--server", server.address))
    assert [p["score"] for p in line["predictions"]] == [2.5, None]
    server.stream = None
    server.item_errors[b"cat"] = make_status("INVALID_ARGUMENT", "\x1b]0;title\x07")
    assert "\x1b" not in cli("classify", cat, "--server", server.address).err


def test_no_label_with_the_minimum_score(server, cli, photos):
    def stream(requests, _context):
        for request in requests:
            answer = classify_pb2.ClassifyResponse(request_id=request.request_id)
            result = classify_pb2.ClassifyResult(request_id=request.request_id, response=answer)
            yield classify_pb2.ClassifyStreamResponse(result=result)

    server.stream = stream
    result = cli("classify", *photos(cat=b"cat"), "--server", server.address)
    assert "no label has the minimum score" in result.out


def test_long_names_are_not_cut(server, cli, tmp_path):
    directory = tmp_path / ("d" * 200) / ("e" * 200)
    directory.mkdir(parents=True)
    path = directory / "cat.jpg"
    path.write_bytes(b"cat")
    assert f"{path}  pets 1\n" in cli("classify", path, "--server", server.address).out


def test_bars():
    assert cell_len(bar(1.0, unicode=True)) == len(bar(1.0, unicode=False)) == 24
    assert bar(0.0, unicode=True) == bar(float("nan"), unicode=True) == ""
    assert bar(0.5, unicode=False) == "#" * 12
    assert bar(7.0, unicode=True) == bar(1.0, unicode=True)
    lengths = [cell_len(bar(i / 500, unicode=True)) for i in range(501)]
    assert lengths == sorted(lengths)


def test_printable_leaves_good_text_alone():
    assert printable("Grüße, 猫!") == "Grüße, 猫!"
    assert printable("a\tb\udc80") == "a\\tb\\udc80"


def run_client(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "client", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_a_closed_pipe_ends_quietly(server, tmp_path, as_json):
    for index in range(300):
        (tmp_path / f"cat{index}.jpg").write_bytes(b"cat")
    arguments = ("classify", tmp_path, *(["--json"] * as_json), "--server", server.address)
    with run_client(*arguments) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_ctrl_c_ends_quietly(server, photos):
    begun = threading.Event()

    def silent(requests, _context):
        next(requests)
        begun.set()
        server.released.wait()
        yield classify_pb2.ClassifyStreamResponse()

    server.stream = silent
    with run_client("classify", *photos(cat=b"cat"), "--server", server.address) as process:
        assert begun.wait(30)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
        assert process.wait(30) == 130


def test_the_server_goes_away_in_the_middle(server, tmp_path):
    for index in range(100):
        (tmp_path / f"cat{index:03}.jpg").write_bytes(b"cat")

    def stream(requests, _context):
        yield classify_pb2.ClassifyStreamResponse(result=server.result(next(requests)))
        next(requests)
        threading.Thread(target=server._server.stop, args=(0,)).start()
        server.released.wait()

    server.stream = stream
    with run_client("classify", tmp_path, "--server", server.address) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert out.startswith(f"{tmp_path}/cat000.jpg  pets 1\n".encode())
    assert err.startswith(b"Error: ")
    assert err.count(b"\n") == 1


def test_ascii_output_of_a_real_process(server, tmp_path):
    path = tmp_path / "köln.jpg"
    path.write_bytes(b"cat")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    arguments = ("classify", path, "--server", server.address)
    with run_client(*arguments, env=environment) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert b"k\\xf6ln.jpg" in out
    assert b"#" * 22 in out


def test_the_bars_of_a_waterfall_follow_one_another():
    timings = Timings(decode_us=5000, queue_us=0, engine_us=4000, total_us=10_000, batch_size=1)
    bars = [line.plain[29:] for line in waterfall(timings, 16, unicode=False)[:4]]
    assert [len(bar.rstrip()) for bar in bars] == [12, 0, 22, 24]
    assert [bar.count("#") for bar in bars] == [12, 0, 10, 2]
    assert "network" not in str(waterfall(timings, 16, unicode=False))
    lines = waterfall(timings, 16, unicode=False, round_trip_us=20_000)
    assert lines[4].plain.split() == ["network", "10.0", "ms", "#" * 12]
    assert lines[5].plain.split()[:3] == ["total", "20.0", "ms"]
    nothing = Timings(0, 0, 0, 0, 1)
    assert "total" in waterfall(nothing, 16, unicode=True)[-1].plain
