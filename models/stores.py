"""A model repository in an object store or behind a web server: listed and read, never written.

``s3://``, ``gs://``, ``https://``, ``http://`` and ``file://``, all through obstore (extra
"stores"), whose listings come page by page. What the store says is not believed: listings
and files are followed up to a limit.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store, from_url

from models.errors import IntegrityError, StoreError
from models.listing import INDEX_NAME, Listing, Remote, listing_of, read_index
from models.store_url import basic_authorization, without_credentials

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_MAX_INDEX_BYTES = 32 * 2**20
_MAX_REASON = 300
_PAGE = 1000
_CHUNK_BYTES = 4 * 2**20
_RETRY: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}


class Store:
    """Reads a store. Thread-safe.

    Args:
        url: Where the repository lies. Only ``http(s)://`` may hold a name and a password.

    Attributes:
        url: The same without them, for logs.

    Raises:
        StoreError: There is no such kind of store, or nothing to authenticate with.
    """

    def __init__(self, url: str) -> None:
        self.url = without_credentials(url)
        with self._speaking():
            self._store = opened(url)
        self._lists = urlsplit(url).scheme not in ("http", "https")

    def listing(self) -> Listing:
        """What there is now.

        Raises:
            StoreError: It cannot be reached, or lists more than 100,000 files.
        """
        return listing_of(self._files())

    def read(self, path: str, limit_bytes: int) -> bytes:
        """A small file.

        Raises:
            IntegrityError: There is none, or it is longer than ``limit_bytes``.
            StoreError: The store cannot be reached.
        """
        return b"".join(self._chunks(path, limit_bytes))

    def save(
        self, path: str, target: Path, limit_bytes: int, go_on: Callable[[], bool] = lambda: True
    ) -> None:
        """Write a file to ``target``, a chunk at a time.

        Args:
            path: In the store.
            target: Is made.
            limit_bytes: It is not followed beyond.
            go_on: Asked before each chunk.

        Raises:
            IntegrityError: There is none, or it is longer than ``limit_bytes``.
            StoreError: The store cannot be reached, or ``go_on`` said no.
            OSError: The disk is full.
        """
        with target.open("xb") as file:
            for chunk in self._chunks(path, limit_bytes):
                if not go_on():
                    raise StoreError("fetching was stopped")
                file.write(chunk)

    def _files(self) -> Iterator[tuple[str, Remote]]:
        if not self._lists:
            yield from read_index(self._index())
            return
        with self._speaking():
            for page in obstore.list(self._store, chunk_size=_PAGE):
                for entry in page:
                    tag = entry["e_tag"] or entry["last_modified"].isoformat()
                    yield entry["path"], Remote(size_bytes=entry["size"], tag=tag)

    def _index(self) -> bytes:
        try:
            return self.read(INDEX_NAME, _MAX_INDEX_BYTES)
        except IntegrityError as error:  # the whole repository is unreadable, not one version
            raise StoreError(f"{self.url}: {error}") from error

    def _chunks(self, path: str, limit_bytes: int) -> Iterator[bytes]:
        name, count = path.rpartition("/")[2], 0
        with self._speaking():
            try:
                stream = obstore.get(self._store, path).stream(min_chunk_size=_CHUNK_BYTES)
            except FileNotFoundError as error:
                raise IntegrityError(f"{name} is not in the store") from error
            for chunk in stream:
                count += len(chunk)
                if count > limit_bytes:
                    raise IntegrityError(f"{name} in the store has more than {limit_bytes} bytes")
                yield bytes(chunk)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"{self.url} cannot be read: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """What obstore says: its first line; what follows is for its own developers."""
    return str(error).partition("\n")[0][:_MAX_REASON]


def opened(url: str) -> "ObjectStore":
    """A connection to a store, with what the environment holds to authenticate with.

    Raises:
        ValueError: There is no such kind of store, or nothing to authenticate with.
        BaseError: Likewise, in obstore's words.
    """
    authorization = basic_authorization(url)
    client: ClientConfig = {
        "allow_http": True,  # of an http:// address or endpoint, which the operator gave
        "connect_timeout": "5s",
        "read_timeout": "20s",
        "timeout": "1h",  # of a whole file
    }
    if authorization is not None:
        client["default_headers"] = {"authorization": authorization}
    bare = without_credentials(url)
    if urlsplit(bare).scheme != "s3":
        return from_url(bare, client_options=client, retry_config=_RETRY)
    if authorization is not None:
        raise ValueError("credentials do not belong into the address of a bucket")
    if not _has_aws_files():
        return S3Store.from_url(bare, client_options=client, retry_config=_RETRY)
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ValueError("AWS profiles need the extra 's3'") from error
    return S3Store.from_url(
        bare,
        client_options=client,
        retry_config=_RETRY,
        credential_provider=Boto3CredentialProvider(),
    )


def _has_aws_files() -> bool:
    """Whether there are AWS profiles. obstore reads the environment and the identity of the
    machine or the pod; boto3 reads profiles as well."""
    places = {
        "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
        "AWS_CONFIG_FILE": "~/.aws/config",
    }
    # Not Path.expanduser: it raises where there is no home.
    paths = (os.environ.get(name) or usual for name, usual in places.items())
    return any(Path(os.path.expanduser(path)).is_file() for path in paths)  # noqa: PTH111
