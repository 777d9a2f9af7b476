"""Where a library that one command needs is to be had."""

from importlib.metadata import PackageNotFoundError, distribution

_ALONE = "menagerie-client"
_WHOLE = "menagerie"


def hint(extra: str) -> str:
    """Return the command that installs an extra of the distribution that is installed here."""
    try:
        distribution(_ALONE)
    except PackageNotFoundError:
        return f"pip install '{_WHOLE}[{extra}]'"
    return f"pip install '{_ALONE}[{extra}]'"
