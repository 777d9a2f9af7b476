"""Every error has its row, and nothing leaks."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.rpc import code_pb2, error_details_pb2

from server.errors import InvalidRequestError, QueueFullError, ServingError
from server.rpc.status import TABLE, status_of


def leaves(kind: type[ServingError]) -> Iterator[type[ServingError]]:
    children = kind.__subclasses__()
    if not children:
        yield kind
    for child in children:
        yield from leaves(child)


@pytest.mark.parametrize("kind", list(leaves(ServingError)))
def test_every_leaf_error_has_a_row(kind: type[ServingError]) -> None:
    assert kind in TABLE


def test_an_unexpected_exception_says_nothing_of_itself() -> None:
    status = status_of(RuntimeError("secret path /etc/x"), "id-1")
    assert status.code == code_pb2.INTERNAL
    assert "secret" not in str(status)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.metadata["request_id"] == "id-1"


def test_a_wrong_field_is_named() -> None:
    status = status_of(InvalidRequestError("top_k", "must be positive"), "id")
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert bad.field_violations[0].field == "top_k"
    assert status.message == "top_k must be positive"


def test_unavailable_says_when_to_come_back() -> None:
    retry = error_details_pb2.RetryInfo()
    assert status_of(QueueFullError("full", 2.5), "id").details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 2500


def test_the_reference_lists_every_reason_with_its_code() -> None:
    page = (Path(__file__).parents[4] / "docs/reference/errors.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \|", page, re.MULTILINE))
    known = {reason: code_pb2.Code.Name(code) for code, reason in TABLE.values()}
    assert told == {**known, "INTERNAL": "INTERNAL"}
