"""``python -m tests.page_states FOLDER``: every state of the page, as a picture and under axe-core.

A real Chromium before a real server, at 1280 and 390 pixels, light and dark: FOLDER gets
`<width>-<scheme>-<state>.png`. Prints what axe-core finds, of any impact, and every state that is
wider than its window; exit code 1 if there is any.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.gateway import run_gateway
from tests.integration import test_web_page as web_page
from tests.integration.conftest import PHOTOS, Server, run_server

NOBODY = "127.0.0.1:1"
_BROKEN = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no image at all"}

State = Callable[[Page], None]


def empty(page: Page) -> None:
    _see_examples(page)
    page.wait_for_selector("#health[data-state=serving]")


def _see_examples(page: Page) -> None:
    """They are loaded as they come into view."""
    page.locator("#example-list img").first.wait_for()
    page.locator("#example-list").scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.querySelectorAll('#example-list img')].every((image) => image.naturalWidth)"
    )
    page.evaluate("scrollTo(0, 0)")


def dragging(page: Page) -> None:
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["x"], "x.jpg", { type: "image/jpeg" }));
            for (const type of ["dragenter", "dragover"])
                document.body.dispatchEvent(
                    new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
    )
    page.locator("#veil").wait_for()


def waiting(page: Page) -> None:
    _answers(page, 0)
    page.set_input_files("#files", PHOTOS / "cat.2002.jpg")
    page.wait_for_selector("#tag[data-state=waiting]")


def answer(page: Page) -> None:
    web_page.upload(page, PHOTOS / "cat.2002.jpg")
    page.locator("#history-list img").first.wait_for()


def heat(page: Page) -> None:
    answer(page)
    page.locator("#heat-slider").fill("60")
    page.wait_for_selector("#heat:not([hidden])")


def json_shown(page: Page) -> None:
    answer(page)
    page.click("summary")
    page.click("#copy")
    page.wait_for_selector("#toast.shown")


def not_sure(page: Page) -> None:
    page.set_input_files("#files", web_page.noise())
    web_page.answered(page)


def error(page: Page) -> None:
    page.set_input_files("#files", _BROKEN)
    page.get_by_role("alert").wait_for()


def history(page: Page) -> None:
    for photo in web_page.ALL_PHOTOS[3:8]:
        page.set_input_files("#files", photo)
        page.locator("#caption", has_text=photo.name).wait_for()
        web_page.answered(page)
        page.locator(f"#history-list button[title='{photo.name}']").wait_for()


def another_model(page: Page) -> None:
    answer(page)
    page.select_option("#model", label="tiny-animals 1")
    page.locator(".provenance", has_text="tiny-animals 1").wait_for()


def sheet_under_way(page: Page) -> None:
    _answers(page, 4)
    page.set_input_files("#files", web_page.ALL_PHOTOS)
    page.locator(".card-score", has_text="%").first.wait_for()


def _answers(page: Page, most: int) -> None:
    """So many photos are answered, the others wait."""
    page.evaluate(
        """(most) => {
            const real = window.fetch;
            window.fetch = (url, ...rest) => String(url).includes("/v1/classify") && most-- <= 0
                ? new Promise(() => {}) : real(url, ...rest);
        }""",
        most,
    )


def sheet(page: Page) -> None:
    files = [
        {"name": photo.name, "mimeType": "image/jpeg", "buffer": photo.read_bytes()}
        for photo in web_page.ALL_PHOTOS
    ]
    page.set_input_files("#files", [*files, _BROKEN])
    page.get_by_text("11 of 11 photos, 1 failed").wait_for()
    page.locator(".card img[src]").nth(9).wait_for()


def sheet_filtered(page: Page) -> None:
    sheet(page)
    page.locator(".chip", has_text="Dog").click()
    page.select_option("#sort", "unsure")


def sheet_nothing_fits(page: Page) -> None:
    sheet(page)
    page.fill("#filter-name", "zebra")


def camera(page: Page) -> None:
    page.click("#camera")
    page.locator("#shutter:enabled").wait_for()


def not_serving(page: Page) -> None:
    told = {"serving": False, "status": "NOT_SERVING", "server": "x", "services": {}}
    page.route("**/v1/health", lambda route: route.fulfill(status=503, json=told))
    page.reload()
    page.wait_for_selector("#health[data-state=waiting]")
    _see_examples(page)


def away(page: Page) -> None:
    page.wait_for_selector("#health[data-state=away]")
    _see_examples(page)


def away_asked(page: Page) -> None:
    away(page)
    page.set_input_files("#files", PHOTOS / "cat.2000.jpg")
    page.get_by_role("alert").wait_for()


def http_interface(page: Page) -> None:
    page.goto(page.url + "docs")
    page.locator(".operation").last.wait_for()


SERVED: Mapping[str, State] = {
    one.__name__: one
    for one in (
        *(empty, dragging, waiting, answer, heat, json_shown, not_sure, error, history),
        *(another_model, sheet_under_way, sheet, sheet_filtered, sheet_nothing_fits, camera),
        *(not_serving, http_interface),
    )
}
ALONE: Mapping[str, State] = {"away": away, "away_asked": away_asked}
SIZES = (web_page.DESKTOP, web_page.PHONE)
BY_MOUSE = {"camera", "dragging"}  # phones have no such states


def main() -> int:
    """Take the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.page_states", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="states; default: all")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with run_server() as server:
        wrong = _all_states(server, options.folder, set(options.only))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def _all_states(server: Server, folder: Path, only: set[str]) -> list[str]:
    wrong = []
    with (
        web_page.chromium() as browser,
        run_gateway(server.grpc, timeout_s=20) as served,
        run_gateway(NOBODY) as alone,
    ):
        kinds = product(((served, SERVED), (alone, ALONE)), SIZES, ("light", "dark"))
        for (url, states), size, scheme in kinds:
            for name in [name for name in states if not only or name in only]:
                if size is web_page.PHONE and name in BY_MOUSE:
                    continue
                path = folder / f"{size['width']}-{scheme}-{name}.png"
                wrong += _look(browser, url, size, scheme, states[name], path)
    return wrong


def _look(
    browser: Browser, url: str, size: dict[str, int], scheme: str, state: State, path: Path
) -> list[str]:
    """Take one picture; what is wrong with the state."""
    touch = {"has_touch": True, "is_mobile": True} if size is web_page.PHONE else {}
    wrong = []
    for page in web_page.opened(browser, url, size, scheme, **touch):
        state(page)
        _picture(page, path, whole=state.__name__ not in BY_MOUSE)
        try:
            web_page.assert_sound(page, path.name)
        except AssertionError as found:
            wrong.append(str(found))
    return wrong


def _picture(page: Page, path: Path, *, whole: bool) -> None:
    """Of the whole page: in a window so high, since Playwright's own way forgets the phone."""
    width = (page.viewport_size or web_page.DESKTOP)["width"]
    height = page.evaluate("document.documentElement.scrollHeight")
    if whole:
        page.set_viewport_size({"width": width, "height": height})
    page.screenshot(path=path)


if __name__ == "__main__":
    sys.exit(main())
