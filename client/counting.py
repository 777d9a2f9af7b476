"""How many there are, in words."""


def counted(count: int, noun: str) -> str:
    """Return for example "1 photo" or "2,000 photos"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
