"""Addresses of stores, and what of them may be seen. Imports nothing of the package."""

import base64
from urllib.parse import unquote, urlsplit, urlunsplit

URL_PATTERN = r"^(s3|gs|https?|file)://[^\s?#]*$"


def without_credentials(url: str) -> str:
    """``url`` without the name and password it may hold: fit for logs."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def basic_authorization(url: str) -> str | None:
    """The HTTP header's value for the name and password in ``url``; None where it has none."""
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return None
    return "Basic " + base64.b64encode(unquote(userinfo).encode()).decode()
