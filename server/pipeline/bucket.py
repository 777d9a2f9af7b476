"""A place in an object store to write files to. Needs the extra "stores"."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError

from models.errors import StoreError
from models.store_url import without_credentials
from models.stores import opened, reason_of

_WRITABLE = ("s3", "gs", "file")


class Bucket:
    """A shelf in a store, which shows a file once it is whole.

    Args:
        url: Of the place: ``s3://``, ``gs://`` or ``file://``.

    Raises:
        StoreError: There is no such kind of store, or nothing to authenticate with.
    """

    def __init__(self, url: str) -> None:
        self._url = without_credentials(url)
        if urlsplit(url).scheme not in _WRITABLE:
            raise StoreError(f"{self._url} cannot be written: it must be s3, gs or file")
        with self._speaking():
            self._store = opened(url)

    def sizes(self) -> dict[str, int]:
        """See Shelf."""
        with self._speaking():
            pages = obstore.list(self._store)
            return {entry["path"]: entry["size"] for page in pages for entry in page}

    def put(self, name: str, content: bytes) -> None:
        """See Shelf."""
        with self._speaking():
            obstore.put(self._store, name, content)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"{self._url} cannot be written: {reason_of(error)}") from None
