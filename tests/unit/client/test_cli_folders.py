"""export, sort, gallery and watch, against the scripted server."""

import csv
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet

import client
from client.cli.journal import Journal, JournalError
from client.cli.placing import folder_name
from client.cli.watch import Arrivals

ROOT = Path(client.__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """Cats, a dog and what is no photo; a cat in a subfolder has the name of another."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for index in range(3):
        (folder / f"cat{index}.jpg").write_bytes(b"cat %d" % index)
    (folder / "sub" / "cat0.jpg").write_bytes(b"cat of the subfolder")
    (folder / "dog.jpg").write_bytes(b"dog")
    (folder / "notes.png").write_bytes(b"not an image")
    return folder


def client_process(*arguments):
    command = [sys.executable, "-m", "client", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_export_csv(server, cli, folder, tmp_path):
    table = tmp_path / "table.csv"
    result = cli("export", folder, "-o", table, "-k", "2", "--server", server.address)
    assert result.code == 1
    assert "notes.png: image.encoded is no JPEG" in result.err
    assert "1 of 6 photos failed." in result.err
    rows = {Path(row["path"]).name: row for row in csv.DictReader(table.read_text().splitlines())}
    assert len(rows) == 5  # two have one name
    assert (rows["dog.jpg"]["label"], rows["dog.jpg"]["label_2"]) == ("dog", "cat")
    assert float(rows["dog.jpg"]["score"]) == 0.9
    assert rows["notes.png"]["error"].startswith("image.encoded")
    assert [file.name for file in tmp_path.iterdir()].count("table.csv.journal") == 0


def test_export_the_other_formats(server, cli, folder, tmp_path):
    lines, table = tmp_path / "table.jsonl", tmp_path / "table.parquet"
    cli("export", folder, "-o", lines, "--server", server.address)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(found) == 6
    cli("export", folder, "-o", table, "--server", server.address)
    rows = parquet.read_table(table).to_pylist()
    assert [row["path"] for row in rows] == [line["path"] for line in found]
    assert {row["label"] for row in rows} == {"cat", "dog", None}
    wrong = cli("export", folder, "-o", tmp_path / "table.xls", "--server", server.address)
    assert wrong.code == 2


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_a_killed_export_loses_and_repeats_nothing(server, cli, tmp_path, kind):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(300):
        (folder / f"{index:03}.jpg").write_bytes(b"cat %d" % index)
    server.item_errors[b"cat 3"] = server.item_errors[b"not an image"]
    whole, table = tmp_path / f"whole{kind}", tmp_path / f"table{kind}"
    assert cli("export", folder, "-o", whole, "--server", server.address).code == 1
    journal = tmp_path / f"table{kind}.journal"
    server.requests.clear()
    enough = threading.Event()
    plain = server.result

    def result(request):
        if len(server.requests) == 150:
            enough.set()
        return plain(request)

    server.result = result
    with client_process("export", folder, "-o", table, "--server", server.address) as process:
        assert enough.wait(30)
        process.kill()
    assert not table.exists()
    done = journal.read_bytes().count(b"\n") - 1
    assert 0 < done < 300
    with journal.open("ab") as file:
        file.write(b'{"path": "torn')
    server.requests.clear()
    result = cli("export", folder, "-o", table, "--server", server.address)
    assert f"Going on after {done} photos." in result.err
    assert "003.jpg: image.encoded is no JPEG" in result.err  # of the first run
    assert "1 of 300 photos failed." in result.err
    # In the order of the photos; some of the killed run may have been on their way still.
    asked = {request.image.encoded for request in server.requests}
    assert asked == {b"cat %d" % index for index in range(done, 300)}
    assert table.read_bytes() == whole.read_bytes()
    assert not journal.exists()


def test_a_journal_of_other_options_is_refused(tmp_path, server, cli, folder):
    table = tmp_path / "table.csv"
    with Journal(tmp_path / "table.csv.journal", {"model": "other"}):
        pass
    result = cli("export", folder, "-o", table, "--server", server.address)
    assert result.code == 2
    assert "--restart" in result.err
    assert cli("export", folder, "-o", table, "--restart", "--server", server.address).code == 1
    assert table.exists()
    (tmp_path / "x").write_text("what is this")
    with pytest.raises(JournalError):
        Journal(tmp_path / "x", {})


def test_a_server_that_comes_back_is_waited_for(new_server, cli, folder, tmp_path):
    table = tmp_path / "table.csv"
    starter = threading.Timer(0.5, lambda: (new_server.start(), new_server.set_serving()))
    starter.start()
    result = cli("export", folder, "-o", table, "--server", new_server.address)
    starter.join()
    assert result.code == 1  # for what is no photo
    assert len(list(csv.DictReader(table.read_text().splitlines()))) == 6


def test_a_server_that_stays_away_ends_the_run(nobody, cli, folder, tmp_path):
    arguments = ("--patience", "0.1", "--server", nobody)
    result = cli("export", folder, "-o", tmp_path / "table.csv", *arguments)
    assert result.code == 3
    assert "Cannot reach a server" in result.err


def test_sort_shows_first(server, cli, folder, tmp_path):
    out = tmp_path / "out"
    result = cli("sort", folder, "--into", out, "--server", server.address)
    assert result.out.split()[:4] == ["cat", "4", "dog", "1"]
    assert "Nothing was touched" in result.out
    assert not out.exists()


@pytest.mark.parametrize("how", ["copy", "link", "hardlink", "move"])
def test_sort_and_undo(server, cli, folder, tmp_path, how):
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    out = tmp_path / "out"
    cli("sort", folder, "--into", out, "--go", "--how", how, "--server", server.address)
    assert {path.name for path in (out / "cat").iterdir()} == {
        *("cat0.jpg", "cat0-2.jpg", "cat1.jpg", "cat2.jpg")
    }
    assert (out / "dog" / "dog.jpg").read_bytes() == b"dog"
    assert (folder / "dog.jpg").exists() == (how != "move")
    assert (folder / "notes.png").exists()
    (undo,) = out.glob("undo-*.jsonl")
    result = cli("sort", "--undo", undo)
    assert "5 steps taken back, 0 left alone." in result.out
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    assert list(out.iterdir()) == []


def test_undo_leaves_alone_what_was_changed(server, cli, folder, tmp_path):
    out = tmp_path / "out"
    cli("sort", folder, "--into", out, "--go", "--server", server.address)
    (out / "dog" / "dog.jpg").write_bytes(b"better")
    (undo,) = out.glob("undo-*.jsonl")
    result = cli("sort", "--undo", undo)
    assert result.code == 1
    assert "4 steps taken back, 1 left alone." in result.out
    told = json.loads(cli("sort", "--undo", undo, "--json").out)
    assert told == {"undo": str(undo), "taken_back": 4, "left_alone": 1}  # as often as wanted
    assert (out / "dog" / "dog.jpg").read_bytes() == b"better"
    undo.write_text("nonsense\n")
    assert cli("sort", "--undo", undo).code == 2


def test_the_unsure_go_to_a_folder_of_their_own(server, cli, folder, tmp_path):
    out = tmp_path / "out"
    arguments = ("--go", "--min-score", "0.95", "--server", server.address)
    cli("sort", folder, "--into", out, *arguments)
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"unsure"}


def test_a_target_inside_the_source_is_refused(server, cli, folder):
    result = cli("sort", folder, "--into", folder / "out", "--server", server.address)
    assert result.code == 2
    assert "lies inside" in result.err


@pytest.mark.parametrize("label", ["../../etc", "a/b", "..", "", "con", "a\x00b", "dot.", "C:\\x"])
def test_a_label_is_one_folder(tmp_path, label):
    folder = tmp_path / folder_name(label)
    folder.mkdir()
    assert folder.parent == tmp_path
    assert folder.resolve().parent == tmp_path.resolve()


def photos_of(page):
    text = page.read_text()
    found = re.findall(r'<script type="application/json">(.*?)</script>', text)
    return [json.loads(line) for line in found]


def test_gallery(server, cli, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGBA", (400, 200), (255, 0, 0, 0)).save(folder / "see-through.png")
    (folder / "<script>alert(1)<").mkdir()
    (folder / "<script>alert(1)<" / "cat.jpg").write_bytes(b"cat but no picture")
    (folder / "not.jpg").write_bytes(b"not an image")
    page = tmp_path / "page.html"
    result = cli("gallery", folder, "-o", page, "--size", "64", "--server", server.address)
    assert result.code == 1
    by_name = {Path(photo["path"]).name: photo for photo in photos_of(page)}
    assert by_name["cat.jpg"]["labels"][0] == ["Cat", 0.9]
    assert by_name["cat.jpg"]["photo"] == ""
    assert by_name["not.jpg"]["error"].startswith("image.encoded")
    assert by_name["see-through.png"]["photo"].startswith("data:image/jpeg;base64,")
    assert page.read_text().count("<script>") == 1
    cli("gallery", folder, "-o", page, "--beside", "--size", "64", "--server", server.address)
    (small,) = (tmp_path / "page_files").iterdir()
    with Image.open(small) as picture:
        assert picture.size == (64, 32)
        assert min(picture.getpixel((10, 10))) > 250  # on white


def test_a_gallery_that_fails_leaves_no_page(nobody, cli, folder, tmp_path):
    page = tmp_path / "page.html"
    arguments = ("--patience", "0.1", "--server", nobody)
    assert cli("gallery", folder, "-o", page, *arguments).code == 3
    assert not list(tmp_path.glob("page*"))


def test_watch(server, folder):
    command = ("watch", folder, "--json", "--existing", "--server", server.address)
    with client_process(*command) as process:
        there = [json.loads(process.stdout.readline()) for _ in range(6)]
        assert sum("error" in line for line in there) == 1
        (folder / "new.jpg").write_bytes(b"dog")
        arrived = json.loads(process.stdout.readline())
        assert Path(arrived["path"]).name == "new.jpg"
        assert arrived["predictions"][0]["label"] == "dog"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_a_file_is_told_when_it_stands_still(tmp_path):
    arrivals, photo = Arrivals(), tmp_path / "a.jpg"
    photo.write_bytes(b"ca")
    arrivals.note([str(photo), str(tmp_path / "notes.txt")])
    assert list(arrivals.complete()) == []
    photo.write_bytes(b"cat")
    assert list(arrivals.complete()) == []
    assert list(arrivals.complete()) == [str(photo)]
    assert list(arrivals.complete()) == []
    arrivals.note([str(photo)])
    assert list(arrivals.complete()) == []  # told already
    photo.write_bytes(b"a dog")
    arrivals.note([str(tmp_path)])  # a folder is looked through
    assert list(arrivals.complete()) == []
    assert list(arrivals.complete()) == [str(photo)]
    arrivals.note([str(tmp_path / "gone.jpg")])
    assert list(arrivals.complete()) == []
