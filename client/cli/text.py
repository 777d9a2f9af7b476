"""Makes foreign text (file names, labels, a server's messages) safe to show."""


def printable(text: str) -> str:
    """Return `text` with everything that is not a printable character escaped.

    Escape sequences cannot reach the terminal, direction marks cannot reorder a line, and
    what could not be decoded (surrogates) can be encoded again.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def encodable(text: str) -> str:
    r"""Return `text` with surrogates, the undecodable bytes of file names, escaped as \udcXX."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
