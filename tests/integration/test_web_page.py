"""The page in a real Chromium, before a real server."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.gateway import run_gateway
from tests.integration.conftest import PHOTOS, Server

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
ALL_PHOTOS = sorted(PHOTOS.glob("*.jpg"))


@contextmanager
def chromium() -> Iterator[sync_api.Browser]:
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        yield (started := playwright.chromium.launch(executable_path=CHROMIUM, args=flags))
        started.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def url(server: Server) -> Iterator[str]:
    with run_gateway(server.grpc, timeout_s=20) as address:
        yield address


@pytest.fixture
def page(browser: sync_api.Browser, url: str) -> Iterator[sync_api.Page]:
    yield from opened(browser, url, DESKTOP)


def opened(
    browser: sync_api.Browser,
    url: str,
    size: dict[str, int],
    scheme: str = "light",
    **more: bool,
) -> Iterator[sync_api.Page]:
    context = browser.new_context(
        viewport=size, color_scheme=scheme, reduced_motion="reduce", **more
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Policy" in said.text else None)
    page.goto(url)
    yield page
    context.close()
    assert problems == []


def answered(page: sync_api.Page) -> sync_api.Locator:
    page.wait_for_selector("#tag[data-state=answer]")
    return page.locator("#answer")


def upload(page: sync_api.Page, photo: Path) -> sync_api.Locator:
    page.set_input_files("#files", photo)
    return answered(page)


def test_an_upload_is_answered_and_remembered(page: sync_api.Page) -> None:
    assert "Dog" in upload(page, PHOTOS / "dog.2002.jpg").locator(".best-label").inner_text()
    scores = [float(text.rstrip("%")) for text in page.locator(".row-score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(100, abs=0.3)
    assert "Dog" in (page.get_attribute("#photo", "alt") or "")
    page.set_input_files("#files", {"name": "x", "mimeType": "image/png", "buffer": b"x"})
    page.get_by_role("alert").wait_for()
    page.locator("#history-list button").first.click()
    assert "Dog" in answered(page).inner_text()
    assert page.locator("#heat-slider").is_visible()  # the photo itself is still there
    page.reload()
    page.locator("#history-list button").first.click()
    assert "Dog" in answered(page).inner_text()


def test_the_json_can_be_shared(page: sync_api.Page) -> None:
    upload(page, PHOTOS / "cat.2001.jpg")
    page.click("#copy")
    page.wait_for_selector("#toast.shown")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert '"label": "cat"' in copied
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.path().read_text() == copied


def test_a_pasted_photo(page: sync_api.Page) -> None:
    page.evaluate(
        """async (address) => {
            const blob = await (await fetch(address)).blob();
            const data = new DataTransfer();
            data.items.add(new File([blob], "pasted.jpg", { type: "image/jpeg" }));
            dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        "/examples/cat.2000.jpg",
    )
    assert "Cat" in answered(page).inner_text()
    assert page.inner_text("#caption") == "pasted.jpg"


def test_a_dropped_photo(page: sync_api.Page) -> None:
    page.evaluate(
        """async (address) => {
            const blob = await (await fetch(address)).blob();
            const data = new DataTransfer();
            data.items.add(new File([blob], "dropped.jpg", { type: "image/jpeg" }));
            for (const type of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(
                    new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        "/examples/cat.2000.jpg",
    )
    assert "Cat" in answered(page).inner_text()
    assert page.locator("#veil").is_hidden()


def test_an_example_by_keyboard_alone(page: sync_api.Page) -> None:
    example = page.locator("#example-list button").first
    example.wait_for()
    example.focus()
    page.keyboard.press("Enter")
    assert "Cat" in answered(page).inner_text()


def test_another_model_answers_the_same_photo(page: sync_api.Page) -> None:
    upload(page, PHOTOS / "cat.2000.jpg")
    page.select_option("#model", label="tiny-animals 1")
    page.locator(".provenance", has_text="tiny-animals 1").wait_for()
    assert page.locator(".row").count() == 5


def test_where_the_model_looked(page: sync_api.Page) -> None:
    upload(page, PHOTOS / "dog.2000.jpg")
    slider = page.get_by_label("Where the model looked")
    busy = {"error": {"code": "UNAVAILABLE", "message": "busy"}}
    page.route("**/v1/explain**", lambda route: route.fulfill(status=503, json=busy), times=1)
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("No map: Busy.").wait_for()
    page.keyboard.press("End")
    page.wait_for_selector("#heat:not([hidden])")
    assert page.evaluate("document.querySelector('#heat').style.opacity") == "1"
    photo, heat = (page.locator(name).bounding_box() for name in ("#photo", "#heat"))
    assert photo is not None
    assert heat is not None
    # The central square.
    assert heat["height"] == pytest.approx(min(photo["width"], photo["height"]), abs=1)
    assert heat["x"] + heat["width"] / 2 == pytest.approx(photo["x"] + photo["width"] / 2, abs=1)


def noise() -> sync_api.FilePayload:
    """A file that looks like nothing."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return {"name": "noise.png", "mimeType": "image/png", "buffer": file.getvalue()}


def test_what_is_like_no_photo_is_not_named(page: sync_api.Page) -> None:
    page.set_input_files("#files", noise())
    said = answered(page).inner_text()
    assert "Not sure" in said
    assert "Unlike anything the model has learned from" in said


def test_a_photo_from_the_camera(page: sync_api.Page) -> None:
    page.click("#camera")
    page.locator("#shutter:enabled").click()
    answered(page)
    assert page.inner_text("#caption") == "camera.jpg"
    assert page.locator("#camera-dialog").is_hidden()


def test_a_phone_opens_its_own_camera(browser: sync_api.Browser, url: str) -> None:
    for page in opened(browser, url, PHONE, has_touch=True, is_mobile=True):
        assert page.get_by_text("Choose or take a photo").is_visible()
        with page.expect_file_chooser() as choosing:
            page.tap("#camera")
        assert choosing.value.element.get_attribute("capture") == "environment"
        choosing.value.set_files(PHOTOS / "cat.2000.jpg")
        assert "Cat" in answered(page).inner_text()


def test_a_dropped_folder_with_folders(page: sync_api.Page, tmp_path: Path) -> None:
    (tmp_path / "pets" / "cats").mkdir(parents=True)
    for place, photo in (("pets", ALL_PHOTOS[-1]), ("pets/cats", ALL_PHOTOS[0])):
        shutil.copy(photo, tmp_path / place)
    (tmp_path / "pets" / "notes.txt").write_text("no photo")
    (tmp_path / "pets" / ".hidden.jpg").write_bytes(b"")
    # What the browser does when a hand lets go; scripts cannot make a folder.
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(tmp_path / "pets")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    page.get_by_text("2 of 2 photos").wait_for()
    assert set(page.locator(".card-text").all_inner_texts()) == {"Cat", "Dog"}


def test_the_picker_follows_the_server(page: sync_api.Page) -> None:
    page.clock.install()
    page.reload()
    page.locator("#model option", has_text="tiny-animals 1").wait_for(state="attached")
    page.select_option("#model", label="tiny-animals 1")
    listed = page.request.get(f"{page.url}v1/models").json()["models"]
    left = [each for each in listed if each["model"] != "tiny-animals"]
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": left}))
    page.clock.fast_forward(10_000)
    page.get_by_text("tiny-animals 1 is no longer served").wait_for()
    assert page.input_value("#model") == ""
    told = {"serving": False, "status": "NOT_SERVING", "server": "x", "services": {}}
    page.route("**/v1/health", lambda route: route.fulfill(status=503, json=told))
    page.clock.fast_forward(10_000)
    page.wait_for_selector("#health[data-state=waiting]")
    assert page.inner_text("#health") == "Not serving"


def test_what_is_no_photo_is_told(page: sync_api.Page) -> None:
    notes = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no image at all"}
    page.set_input_files("#files", notes)
    alert = page.get_by_role("alert")
    assert "The photo is not a JPEG, PNG or WebP image." in alert.inner_text()
    assert page.locator("#again").count() == 0
    assert "Cat" in upload(page, PHOTOS / "cat.2000.jpg").inner_text()


def test_two_hundred_photos_at_once(page: sync_api.Page) -> None:
    read = {photo.name: photo.read_bytes() for photo in ALL_PHOTOS}
    files = [
        {"name": f"{turn:02} {name}", "mimeType": "image/jpeg", "buffer": content}
        for turn in range(20)
        for name, content in read.items()
    ]
    files[7]["buffer"] = b"broken"
    page.set_input_files("#files", files)
    page.get_by_text("200 of 200 photos, 1 failed").wait_for(timeout=60_000)
    assert page.locator("#grid li").count() == 200
    page.locator(".chip", has_text="Dog").click()
    assert 80 <= page.locator("#grid li").count() <= 100
    page.locator(".chip", has_text="Failed").click()
    assert page.locator("#grid li").count() == 1
    page.locator(".chip", has_text="All").click()
    page.fill("#filter-name", "cat.2003")
    assert page.locator("#grid li").count() == 20
    page.fill("#filter-name", "")
    page.select_option("#sort", "unsure")
    scores = [
        float(text.rstrip("%")) for text in page.locator(".card-score").all_inner_texts() if text
    ]
    assert scores == sorted(scores)
    with page.expect_download() as download:
        page.click("#sheet-csv")
    assert len(download.value.path().read_text().splitlines()) == 201
    page.locator(".card", has_text="00 dog.2004").click()
    assert "Dog" in answered(page).inner_text()


def test_a_server_that_is_away_and_comes(browser: sync_api.Browser, server: Server) -> None:
    with run_gateway("127.0.0.1:1") as url:
        for page in opened(browser, url, DESKTOP):
            page.wait_for_selector("#health[data-state=away]")
            page.set_input_files("#files", PHOTOS / "cat.2000.jpg")
            alert = page.get_by_role("alert")
            assert "Cannot reach a server at 127.0.0.1:1" in alert.inner_text()
            with run_gateway(server.grpc, timeout_s=20) as alive:
                page.route(
                    "**/v1/**", lambda route: route.fulfill(response=passed_on(alive, route))
                )
                page.click("#again")
                assert "Cat" in answered(page).inner_text()
                page.unroute_all()


def passed_on(url: str, route: sync_api.Route) -> sync_api.APIResponse:
    path = httpx.URL(route.request.url).raw_path.decode()
    return route.fetch(url=url + path)


def test_a_gateway_that_is_gone(browser: sync_api.Browser, server: Server) -> None:
    with run_gateway(server.grpc) as url:
        pages = opened(browser, url, DESKTOP)
        page = next(pages)
        page.wait_for_selector("#health[data-state=serving]")
        page.wait_for_load_state("networkidle")
    page.set_input_files("#files", PHOTOS / "cat.2000.jpg")
    assert "The gateway cannot be reached." in page.get_by_role("alert").inner_text()
    page.wait_for_selector("#health[data-state=away]")
    assert next(pages, None) is None


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")]
)
def test_every_state_is_accessible_and_fits(
    browser: sync_api.Browser, url: str, size: dict[str, int], scheme: str
) -> None:
    for page in opened(browser, url, size, scheme):
        page.locator("#example-list img").first.wait_for()
        page.wait_for_selector("#health[data-state=serving]")
        assert_sound(page, "empty")
        upload(page, PHOTOS / "cat.2002.jpg")
        page.locator("#history-list li").first.wait_for()
        page.locator("#heat-slider").fill("60")
        page.wait_for_selector("#heat:not([hidden])")
        page.click("summary")
        assert_sound(page, "answer")
        broken = {"name": "x.png", "mimeType": "image/png", "buffer": b"x"}
        page.set_input_files("#files", broken)
        page.get_by_role("alert").wait_for()
        assert_sound(page, "error")
        photos = [
            {"name": photo.name, "mimeType": "image/jpeg", "buffer": photo.read_bytes()}
            for photo in ALL_PHOTOS[:5]
        ]
        page.set_input_files("#files", [*photos, broken])
        page.get_by_text("6 of 6 photos, 1 failed").wait_for()
        assert_sound(page, "sheet")
        page.goto(f"{url}/docs")
        page.locator(".operation").last.wait_for()
        assert_sound(page, "docs")


def assert_sound(page: sync_api.Page, state: str) -> None:
    """Nothing that axe-core finds, and nothing wider than the window."""
    found = axe.Axe().run(page).response["violations"]
    told = [f"{v['id']}: {[n['html'] for n in v['nodes']]}" for v in found]
    assert told == [], f"{state}: {told}"
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, state
