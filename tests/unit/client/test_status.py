import pickle

import grpc
import pytest
from google.rpc import code_pb2, status_pb2

from client import errors
from client.errors import ClassifyError, ServerUnavailableError
from client.status import _CLASSES, from_status


def subclasses(cls):
    return {cls}.union(*(subclasses(child) for child in cls.__subclasses__()))


def test_every_error_has_a_row_and_every_code_an_error():
    told_apart = subclasses(ClassifyError) - {ClassifyError, ServerUnavailableError}
    assert set(_CLASSES.values()) == told_apart
    for code, cls in _CLASSES.items():
        error = from_status(status_pb2.Status(code=code_pb2.Code.Value(code)))
        assert type(error) is cls
        assert error.code == code
        assert code in error.message


def test_the_docstring_draws_every_error():
    drawn = errors.__doc__
    assert all(cls.__name__ in drawn for cls in subclasses(errors.ClientError))


def test_details_are_read(make_status):
    status = make_status("UNAVAILABLE", "the queue is full", reason="QUEUE_FULL", retry_after_s=1.5)
    error = from_status(status)
    assert (error.reason, error.retry_after_s, error.field) == ("QUEUE_FULL", 1.5, "")
    assert isinstance(error, errors.UnavailableError)
    assert not isinstance(error, ServerUnavailableError)


def test_malformed_details_are_left_out(make_status):
    status = make_status("INVALID_ARGUMENT", "top_k is 0", field="top_k", reason="RANGE")
    for detail in status.details:
        detail.value = b"\xff\xff\xff"
    error = from_status(status)
    assert (error.code, error.message) == ("INVALID_ARGUMENT", "top_k is 0")
    assert (error.field, error.reason, error.retry_after_s) == ("", "", None)


def test_a_code_that_does_not_exist_counts_as_unknown():
    error = from_status(status_pb2.Status(code=4711, message="?"))
    assert (type(error), error.code) == (errors.InternalError, "UNKNOWN")
    other = from_status(status_pb2.Status(code=code_pb2.ABORTED, message="?"))
    assert (type(other), other.code) == (ClassifyError, "ABORTED")


@pytest.mark.parametrize(
    "trailer",
    [
        b"\xff\xff not a status",
        b"",
        status_pb2.Status(code=5, message="another code").SerializeToString(),
        status_pb2.Status(code=3, message="another message").SerializeToString(),
    ],
)
def test_a_trailer_that_is_not_the_status_is_ignored(server, client, trailer):
    def abort(context):
        context.set_trailing_metadata((("grpc-status-details-bin", trailer),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "top_k is 0")

    server.call_errors.append(abort)
    with pytest.raises(errors.InvalidArgumentError) as refused:
        client.classify(b"cat")
    assert refused.value.message == "top_k is 0"
    assert refused.value.field == ""


def test_errors_survive_pickling():
    error = ServerUnavailableError("nobody there", address="here:1")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (made a line above)
    assert (type(copy), copy.address, copy.code) == (type(error), "here:1", "UNAVAILABLE")
