"""What a request asks: images from its body, choices from its query and form fields."""

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypedDict, get_args

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from client.errors import ImageFileError, InvalidArgumentError
from client.images import MAX_IMAGE_BYTES
from client.messages import CamMethod, Priority
from client.web.errors import GatewayError

MAX_BATCH_IMAGES = 64
# Beside its image a form holds a dozen short fields.
_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 4096
_CHOICES = (
    *("model", "version", "label", "top_k", "min_score", "coverage"),
    *("priority", "label_id", "method", "overlay"),
)


@dataclass(frozen=True, slots=True)
class Upload:
    """Images, encoded, with their file names, and the choices that came with them."""

    images: list[tuple[str, bytes]]
    choices: Mapping[str, str] = field(default_factory=dict)


async def read_upload(request: Request, *, most_images: int) -> Upload:
    """Return what a request carries: a form with files, or a body that is one image.

    Raises:
        InvalidArgumentError: There is no image, or the form is malformed.
        GatewayError: There are more than `most_images`, or the body breaks a limit.
        ImageFileError: An image is larger than a message may be.
    """
    choices = {
        name: request.query_params[name] for name in _CHOICES if name in request.query_params
    }
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return Upload([("", _fitting(await request.body(), ""))], choices)
    async with AsyncExitStack() as stack:
        form = await _form(request, most_images)
        stack.push_async_callback(form.close)
        images = [
            (part.filename or "", await _part_bytes(part)) for part in _files(form, most_images)
        ]
    fields = {name: str(form[name]) for name in _CHOICES if isinstance(form.get(name), str)}
    return Upload(images, choices | fields)


async def _form(request: Request, most_images: int) -> FormData:
    try:
        return await request.form(
            max_files=most_images + 1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
        )
    except FormParserError as error:
        raise InvalidArgumentError(f"the form cannot be read: {error}", field="body") from error


def _files(form: FormData, most_images: int) -> Iterable[UploadFile]:
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise InvalidArgumentError(
            "the form holds no file; send the photo as the field 'image'", field="image"
        )
    if len(files) > most_images:
        raise GatewayError(
            413, f"the form holds more than {most_images} files", reason="TOO_MANY_ITEMS"
        )
    return files


async def _part_bytes(part: UploadFile) -> bytes:
    name = part.filename or ""
    return _fitting(await part.read(MAX_IMAGE_BYTES + 1), name)


def _fitting(image: bytes, name: str) -> bytes:
    if not image:
        raise InvalidArgumentError(
            f"{name}: the file is empty" if name else "the body is empty; it must be an image",
            field="image",
        )
    if len(image) > MAX_IMAGE_BYTES:
        raise ImageFileError(
            f"the image is larger than the limit of {MAX_IMAGE_BYTES:,} bytes",
            code="RESOURCE_EXHAUSTED",
            reason="FILE_TOO_LARGE",
            path=name,
        )
    return image


class ModelChoice(TypedDict):
    """Which model version to ask; empty strings choose nothing."""

    model: str
    version: str
    label: str


def model_choice(choices: Mapping[str, str]) -> ModelChoice:
    """Return the choices of a model version."""
    return ModelChoice(
        model=choices.get("model", ""),
        version=choices.get("version", ""),
        label=choices.get("label", ""),
    )


def top_k(choices: Mapping[str, str]) -> int | None:
    """Return how many labels are asked for.

    Raises:
        InvalidArgumentError: It is no whole number.
    """
    try:
        return int(choices["top_k"]) if choices.get("top_k") else None
    except ValueError:
        raise InvalidArgumentError("top_k must be a whole number", field="top_k") from None


def number(choices: Mapping[str, str], name: str) -> float | None:
    """Return a number that is asked for, for example the smallest score.

    Raises:
        InvalidArgumentError: It is no number.
    """
    try:
        return float(choices[name]) if choices.get(name) else None
    except ValueError:
        raise InvalidArgumentError(f"{name} must be a number", field=name) from None


def priority(choices: Mapping[str, str], default: Priority) -> Priority:
    """Return how urgent the request is.

    Raises:
        InvalidArgumentError: There is no such priority.
    """
    for known in get_args(Priority):
        if choices.get("priority", default) == known:
            found: Priority = known
            return found
    raise InvalidArgumentError(
        f"priority must be one of {', '.join(get_args(Priority))}", field="priority"
    )


def method(choices: Mapping[str, str]) -> CamMethod:
    """Return how the map is to be made.

    Raises:
        InvalidArgumentError: There is no such method.
    """
    for known in get_args(CamMethod):
        if choices.get("method", "grad_cam") == known:
            found: CamMethod = known
            return found
    raise InvalidArgumentError(
        f"method must be one of {', '.join(get_args(CamMethod))}", field="method"
    )
