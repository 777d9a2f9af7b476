"""Reads what a server recorded (``--record``): RecordedRequest messages, each after its length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from google.protobuf import proto
from google.protobuf.message import DecodeError

from client.errors import ClientError
from proto.classify.v1 import record_pb2

SUFFIX = ".requests"
_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Record:
    """Requests as they came.

    Attributes:
        requests: By their arrival.
        damaged: Files whose end cannot be read, as of a server that was killed.
    """

    requests: tuple[record_pb2.RecordedRequest, ...]
    damaged: tuple[Path, ...] = ()

    @property
    def seconds(self) -> float:
        """From the first arrival to the last."""
        if not self.requests:
            return 0.0
        return arrival_s(self.requests[-1]) - arrival_s(self.requests[0])


def read_record(path: Path) -> Record:
    """Read a record into memory: a folder, or one of its files.

    Raises:
        ClientError: There is no request in it, or it cannot be read.
    """
    paths = sorted(path.glob("*" + SUFFIX)) if path.is_dir() else [path]
    found: list[record_pb2.RecordedRequest] = []
    damaged: list[Path] = []
    for one in paths:
        try:
            found += _requests(one)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ClientError(f"{one} cannot be read: {reason}", code="NOT_FOUND") from error
        except _TruncatedError as error:
            found += error.before
            damaged.append(one)
    if not found:
        raise ClientError(f"{path} holds no recorded request", code="NOT_FOUND")
    return Record(tuple(sorted(found, key=arrival_s)), tuple(damaged))


def with_images(
    record: Record, stand_ins: Sequence[bytes]
) -> tuple[list[record_pb2.RecordedRequest], int]:
    """The requests that can be sent: those with their image, and others with one of about its size.

    Args:
        record: As it was read.
        stand_ins: Encoded images for requests whose own was not kept; without any they are left
            out.

    Returns:
        The requests by arrival, and how many of them have a stand-in: what they are answered says
        nothing of what was answered before.
    """
    sized = sorted(stand_ins, key=len)
    found, replaced = [], 0
    for one in record.requests:
        image = one.request.image
        if image.encoded or image.HasField("raw"):
            found.append(one)
        elif sized:
            other = record_pb2.RecordedRequest()
            other.CopyFrom(one)
            nearest = min(sized, key=lambda each: abs(len(each) - one.image_bytes))
            other.request.image.encoded = nearest
            other.ClearField("outcome")
            found.append(other)
            replaced += 1
    return found, replaced


def arrival_s(request: record_pb2.RecordedRequest) -> float:
    """When it arrived, in seconds since 1970."""
    return request.arrival_time.ToNanoseconds() / _NANOSECONDS


class _TruncatedError(Exception):
    """A file ends within a message, or goes on with something else."""

    def __init__(self, before: list[record_pb2.RecordedRequest]) -> None:
        super().__init__()
        self.before = before


def _requests(path: Path) -> list[record_pb2.RecordedRequest]:
    found: list[record_pb2.RecordedRequest] = []
    try:
        found.extend(_messages(path))
    except (DecodeError, ValueError, TypeError, EOFError) as error:
        raise _TruncatedError(found) from error
    return found


def _messages(path: Path) -> Iterator[record_pb2.RecordedRequest]:
    content = BytesIO(path.read_bytes())
    while (one := proto.parse_length_prefixed(record_pb2.RecordedRequest, content)) is not None:
        yield one
