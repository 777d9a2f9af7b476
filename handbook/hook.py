"""What mkdocs calls while it builds: see https://www.mkdocs.org/user-guide/plugins/#events.

- Pages that the code writes (reference/) and those of the repository's root join docs/.
- ``folder/*`` in the navigation stands for the folder's pages, by name.
- Links to code that a page is written of lead to that page.
- Links to other files of the repository become the file's name: a site without a repository
  beside it has nowhere to lead to. A file that does not exist breaks the build.
"""

import logging
import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from handbook import commands, contract, manifest, settings

ROOT = Path(__file__).resolve().parent.parent
_LOG = logging.getLogger("mkdocs.hooks.handbook")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")

WRITTEN: Mapping[str, Callable[[], str]] = {
    "reference/settings.md": settings.page,
    "reference/commands.md": commands.page,
    "reference/manifest.md": manifest.page,
    "reference/classify.md": lambda: contract.page("classify.v1", "gRPC: classify.v1"),
    "reference/inference.md": lambda: contract.page("inference", "gRPC: inference"),
}

# What they are written of.
_SOURCES = {
    "server/settings.py": "reference/settings.md",
    "models/manifest.py": "reference/manifest.md",
    "proto/classify/v1": "reference/classify.md",
    "proto/inference": "reference/inference.md",
}


def borrowed() -> dict[str, str]:
    """Return the pages outside docs/: the path in the repository, and the one in the site."""
    newest = {
        folder.parent.name: folder
        for folder in sorted((ROOT / "models" / "zoo").glob("*/*/"), key=lambda one: int(one.name))
    }
    cards = {
        (folder / "README.md").relative_to(ROOT).as_posix(): f"models/{name}.md"
        for name, folder in newest.items()
    }
    return {
        "README.md": "index.md",
        "SECURITY.md": "security.md",
        "CHANGELOG.md": "changelog.md",
        "examples/photos/CREDITS.md": "credits.md",
        **cards,
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Spell out ``folder/*`` in the navigation."""
    docs = Path(config.docs_dir)
    config.nav = [_spelled(entry, docs) for entry in config.nav or []]
    return config


def _spelled(entry: object, docs: Path) -> object:
    if isinstance(entry, dict):
        return {
            title: [each for inner in inside for each in _pages(inner, docs)]
            if isinstance(inside, list)
            else inside
            for title, inside in entry.items()
        }
    return entry


def _pages(entry: object, docs: Path) -> list[object]:
    if not isinstance(entry, str) or not entry.endswith("/*"):
        return [_spelled(entry, docs)]
    if entry == "models/*":
        return [page for page in borrowed().values() if page.startswith("models/")]
    found = sorted((docs / entry).parent.glob("*.md"))
    return [page.relative_to(docs).as_posix() for page in found]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for path, write in WRITTEN.items():
        files.append(File.generated(config, path, content=write()))
    for source, path in borrowed().items():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs passes it by name
    """Mend the links of a page, which are relative to its place in the repository."""
    homes = {**borrowed(), **_SOURCES}
    uri = page.file.src_uri
    written_at = {path: source for source, path in borrowed().items()}
    here = posixpath.dirname(written_at.get(uri, f"docs/{uri}"))

    def mended(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        path = posixpath.normpath(posixpath.join(here, target))
        site = homes.get(path) or path.removeprefix("docs/")
        if site != path and files.get_file_from_path(site) is not None:
            return f"[{text}]({posixpath.relpath(site, posixpath.dirname(uri) or '.')}{anchor})"
        if not (ROOT / path).exists():
            _LOG.warning("%s: no such file: %s", uri, target)
        return text if path in text else f"{text} (`{path}`)"

    return _LINK.sub(mended, markdown)
