"""The site: every page and link in it, and the pages that the code writes.

Built with a bare theme and without the SDK's page, which cost most of ``make docs`` and can break
no link.
"""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort

from handbook import commands, contract, manifest, settings
from handbook.text import table
from models.manifest import Manifest
from proto.classify.v1 import classify_pb2
from server.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


class Targets(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name = {"script": "src", "img": "src", "link": "href", "iframe": "src"}.get(tag, "")
        if found.get(name) and found.get("rel") != "canonical":
            self.fetched.append(found[name] or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(config(folder))
    return folder / "site"


def config(folder: Path, **changed: object) -> MkDocsConfig:
    """The site's configuration, bare. Strict: links and anchors that lead nowhere are errors, and
    pages that nothing leads to."""
    theme = folder / "theme"
    theme.mkdir()
    (theme / "main.html").write_text("<title>{{ page.title }}</title>{{ page.content }}")
    return load_config(
        str(ROOT / "mkdocs.yml"),
        site_dir=str(folder / "site"),
        theme={"name": None, "custom_dir": str(theme)},
        plugins=[],
        strict=True,
        **changed,
    )


def test_the_pages_of_the_code_and_of_the_root_are_in_it(site: Path) -> None:
    for page in ("index", "security", "changelog", "reference/settings", "models/cats-vs-dogs"):
        assert (site / f"{page}.html").is_file(), page


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        targets = Targets()
        targets.feed(page.read_text(encoding="utf-8"))
        assert not [target for target in targets.fetched if "//" in target], page
    assert "font: false" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_a_link_to_code_says_where_it_is(site: Path) -> None:
    batching = (site / "batching.html").read_text(encoding="utf-8")
    assert "<code>server/pipeline/cost.py</code>" in batching
    assert "../server" not in batching


def test_a_link_to_a_file_that_is_not_there_breaks_the_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("[gone](../server/gone.py)")
    with pytest.raises(Abort):
        build(config(tmp_path, docs_dir=str(tmp_path / "docs"), nav=["page.md"]))
    assert "page.md: no such file: ../server/gone.py" in caplog.text


def test_every_setting_is_on_its_page() -> None:
    page = settings.page()
    for name in Settings.model_fields:
        assert f"| `--{name.replace('_', '-')}`<br>`MENAGERIE_{name.upper()}` |" in page


def test_every_key_of_the_manifest_is_on_its_page_with_its_meaning() -> None:
    page = manifest.page()
    for name in Manifest.model_fields:
        assert f"| `{name}` |" in page
    assert not re.findall(r"^\| `\w+` \|.*\|  \|$", page, re.MULTILINE)


def test_every_message_of_the_contract_is_on_its_page_with_its_comment() -> None:
    page = contract.page("classify.v1", "classify.v1")
    for name, message in classify_pb2.DESCRIPTOR.message_types_by_name.items():
        assert f"### {name}\n" in page
        for field in message.fields:
            assert f"| `{field.name}` | {field.number} |" in page
    assert not re.findall(r"^\| `.*\|  \|$", page, re.MULTILINE)


def test_every_command_helps_on_its_page() -> None:
    page = commands.page()
    for call in ("client classify", "client models canary", "trainer publish", "server"):
        assert f"# python -m {call}\n" in page
    assert "╭" not in page


def test_a_cell_cannot_leave_its_row() -> None:
    assert table(("a", "b"), [("x|y\nz", "")]) == "| a | b |\n| --- | --- |\n| x\\|y z |  |\n"
