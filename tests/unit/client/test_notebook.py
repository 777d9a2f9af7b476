import math

from PIL import Image

from client import Client
from client.notebook import Sheet, data_frame


def outcomes(server, tmp_path):
    photo = tmp_path / "<b>cat.png"
    Image.new("RGB", (200, 100), "red").save(photo)
    items = [(photo, photo), ("none.jpg", "none.jpg"), (7, b"dog")]
    with Client(server.address) as client:
        return list(client.classify_many(items, ordered=True))


def test_a_data_frame(server, tmp_path):
    frame = data_frame(outcomes(server, tmp_path))
    assert list(frame.columns) == [
        *("key", "label", "score", "abstain", "model", "version", "error")
    ]
    assert frame.label.tolist() == ["dog", "", "dog"]
    assert math.isnan(frame.score[1])
    assert frame.error[1] == "no such file"
    assert data_frame([]).empty


def test_a_sheet_draws_itself(server, tmp_path):
    html = Sheet(outcomes(server, tmp_path))._repr_html_()
    assert html.count("<tr>") == 4
    assert html.count("data:image/jpeg;base64,") == 1
    assert "<b>" not in html
    assert "no such file" in html
