"""Repositories on the command line: ``python -m models index ROOT``."""

import argparse
import sys
from pathlib import Path

from models.errors import ModelsError
from models.listing import INDEX_NAME, write_index


def main() -> int:
    """Run the command; returns 0 when it succeeded."""
    parser = argparse.ArgumentParser(prog="python -m models", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)
    index = commands.add_parser("index", help=f"write {INDEX_NAME}, which a web server needs")
    index.add_argument("root", type=Path, help="the model repository, a folder")
    root: Path = parser.parse_args().root
    try:
        count = write_index(root)
    except ModelsError as error:
        sys.stderr.write(f"models: {error}\n")
        return 1
    sys.stdout.write(f"{root / INDEX_NAME}: {count} files\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
