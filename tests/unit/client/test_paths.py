import os
from itertools import islice

import pytest

from client import ImageFileError
from client.cli.paths import named_images
from client.images import image_bytes


def names(*paths):
    return [name for name, _ in named_images(map(str, paths))]


def problem(source):
    with pytest.raises(ImageFileError) as refused:
        image_bytes(source)
    return refused.value


def test_directories_are_walked_in_order_and_only_images_taken(tmp_path):
    for name in ("b.JPG", "a.jpeg", "c/d/x.webp", "c/a.png", "notes.txt", "jpg", "e.gif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    expected = ["a.jpeg", "b.JPG", "c/a.png", "c/d/x.webp"]
    assert names(tmp_path) == [str(tmp_path / name) for name in expected]


def test_named_files_are_taken_whatever_they_are_called(tmp_path):
    assert names("nope.jpg", tmp_path / "notes.txt", "-") == [
        "nope.jpg",
        str(tmp_path / "notes.txt"),
        "-",
    ]


def test_a_directory_without_images_is_an_error(tmp_path):
    ((name, source),) = named_images([str(tmp_path)])
    assert name == str(tmp_path)
    assert (problem(source).code, problem(source).reason) == ("NOT_FOUND", "NO_IMAGES")


def test_loops_of_links_end(tmp_path):
    (tmp_path / "cat.jpg").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "other.jpg").symlink_to(tmp_path)
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    expected = ["broken.jpg", "cat.jpg", "loop.jpg"]
    assert names(tmp_path) == [str(tmp_path / name) for name in expected]
    assert names(tmp_path / "loop")[0] == str(tmp_path / "loop/broken.jpg")


def test_a_pipe_in_a_directory_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    ((_, source),) = named_images([str(tmp_path)])
    assert problem(source).reason == "NO_IMAGES"


def test_a_directory_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "z.jpg").touch()
    iterdir = type(tmp_path).iterdir

    def denied(path):
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(type(tmp_path), "iterdir", denied)
    (name, source), (other, _) = named_images([str(tmp_path)])
    assert (name, other) == (str(closed), str(tmp_path / "z.jpg"))
    assert problem(source).code == "PERMISSION_DENIED"


def test_names_that_no_file_can_have(tmp_path):
    for name in ("", "a\0b", "x" * 5000, str(tmp_path / "file" / "below")):
        ((shown, source),) = named_images([name])
        assert shown == name
        assert problem(source).code in ("NOT_FOUND", "INVALID_ARGUMENT")


def test_a_deep_directory_is_no_problem(tmp_path):
    path = tmp_path
    for _ in range(200):
        path = path / "d"
    path.mkdir(parents=True)
    (path / "cat.jpg").touch()
    assert names(tmp_path) == [str(path / "cat.jpg")]


def test_the_first_image_does_not_wait_for_the_last(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cat.jpg").touch()
    seen = []
    iterdir = type(tmp_path).iterdir
    monkeypatch.setattr(type(tmp_path), "iterdir", lambda p: seen.append(p) or iterdir(p))
    assert len(list(islice(named_images([str(tmp_path)]), 1))) == 1
    assert seen == [tmp_path, tmp_path / "a"]
