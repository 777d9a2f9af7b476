"""``python -m tests.page_figures docs/pictures``: the pictures of the page and of a gallery."""

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from tests.gateway import run_gateway
from tests.integration import test_web_page as web_page
from tests.integration.conftest import PHOTOS, ROOT, run_server

_HEIGHT, _GAP = 760, 24
_WIDE, _NARROW, _GALLERY, _SHOWN = 1180, 390, (1280, 730), (960, 548)


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(prog="python -m tests.page_figures", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with run_server() as server, web_page.chromium() as browser:
        with run_gateway(server.grpc, timeout_s=20) as url:
            both = [
                _page(browser, url, _WIDE, "light"),
                _page(browser, url, _NARROW, "dark"),
            ]
        _save(_beside(*both), folder / "web-page.webp")
        with tempfile.TemporaryDirectory() as place:
            page = Path(place) / "page.html"
            (Path(place) / "broken.jpg").write_bytes(b"no image")
            command = ["gallery", str(PHOTOS), f"{place}/broken.jpg", "-o", str(page)]
            subprocess.run(
                [sys.executable, "-m", "client", *command, "--server", server.grpc],
                cwd=ROOT, check=False,
            )  # fmt: skip
            _save(_gallery(browser, page), folder / "gallery.webp")


def _page(browser: Browser, url: str, width: int, scheme: str) -> Image.Image:
    """With a photo and its map."""
    size = {"width": width, "height": _HEIGHT}
    (picture,) = [_looked_at(page) for page in web_page.opened(browser, url, size, scheme)]
    return picture


def _looked_at(page: "web_page.sync_api.Page") -> Image.Image:
    web_page.upload(page, PHOTOS / "dog.2002.jpg")
    page.locator("#heat-slider").fill("55")
    page.wait_for_selector("#heat:not([hidden])")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    return _picture(page)


def _gallery(browser: Browser, path: Path) -> Image.Image:
    page = browser.new_page(viewport=dict(zip(("width", "height"), _GALLERY, strict=True)))
    page.goto(path.as_uri())
    page.locator("img").nth(9).wait_for()
    return _picture(page).resize(_SHOWN, Image.Resampling.LANCZOS)


def _picture(page: "web_page.sync_api.Page") -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + _GAP + right.width, _HEIGHT), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + _GAP, 0))
    return both


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path, quality=82, method=6)


if __name__ == "__main__":
    main()
