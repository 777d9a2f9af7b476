"""The description of the HTTP interface, OpenAPI 3.1. ``/docs`` draws it."""

from importlib.metadata import PackageNotFoundError, version

from client.cli.json_lines import Json
from client.images import MAX_IMAGE_BYTES
from client.web.json_schema import object_of, reference
from client.web.openapi_oip import inference_paths, inference_schemas
from client.web.uploads import MAX_BATCH_IMAGES

_JSON = "application/json"
_ERRORS = {
    "400": "A field or the image is wrong; `field` names it.",
    "404": "No such model, version or label.",
    "413": "The image, the body or their number is larger than allowed.",
    "429": "A quota is used up; see `Retry-After`.",
    "503": "The server is not reached, busy, loading or draining; worth a retry.",
    "504": "No answer in time.",
}
_MODEL = (
    ("model", "string", "Model to ask. Empty: the server's default."),
    ("version", "string", "Version number. Empty: the model's default version."),
    ("label", "string", "Version label, for example `latest`, instead of a version."),
)
_PRIORITY = ("priority", "string", "`interactive`, `normal` or `bulk`.")
_CLASSIFY = (
    *_MODEL,
    ("top_k", "integer", "How many labels to return, best first, 1 to 1000. Unset: 5."),
    ("min_score", "number", "Leaves out labels with a smaller score, 0 to 1."),
    ("coverage", "number", "Adds labels of which the true one is one with this probability."),
    _PRIORITY,
)
_EXPLAIN = (
    *_MODEL,
    ("label_id", "string", "The label to explain. Empty: the best one."),
    ("method", "string", "`grad_cam` or `grad_cam_plus_plus`."),
    ("overlay", "string", "`true` adds the coloured photo as a PNG file in base64."),
    _PRIORITY,
)


def openapi_document() -> dict[str, Json]:
    """Return the OpenAPI document."""
    try:
        installed = version("menagerie")
    except PackageNotFoundError:  # run from a source tree
        installed = "0"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Menagerie",
            "version": installed,
            "description": "Classify photos over HTTP. Each call becomes one over gRPC. Choices "
            "may be query parameters or fields of the form. Below /v2 is the Open Inference "
            "Protocol, for clients of KServe and Triton. Bodies may be compressed: gzip, deflate.",
        },
        "paths": {
            "/v1/classify": {"post": _classify()},
            "/v1/classify:batch": {"post": _batch()},
            "/v1/explain": {"post": _explain()},
            "/v1/models": {"get": _get("List the models of the server.", "Models")},
            "/v1/health": {"get": _get("Tell whether the server takes requests.", "Health")},
            "/healthz": {"get": _plain("Tell that the gateway itself runs.")},
            "/readyz": {"get": _plain("200 while the server behind takes requests, else 503.")},
            **inference_paths(),
        },
        "components": {"schemas": {**_schemas(), **inference_schemas()}},
    }


def _classify() -> Json:
    return _operation(
        "Classify a photo.",
        _CLASSIFY,
        _one_image(),
        "Classification",
        "curl --data-binary @photo.jpg http://localhost:8080/v1/classify",
    )


def _batch() -> Json:
    files: Json = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {"type": "array", "maxItems": MAX_BATCH_IMAGES, "items": _file()}},
    }
    return _operation(
        f"Classify up to {MAX_BATCH_IMAGES} photos; a bad one has its error and fails alone.",
        _CLASSIFY,
        {"multipart/form-data": {"schema": files}},
        "Batch",
        "curl -F image=@a.jpg -F image=@b.jpg http://localhost:8080/v1/classify:batch",
    )


def _explain() -> Json:
    return _operation(
        "Classify a photo and say which parts of it speak for a label.",
        _EXPLAIN,
        _one_image(),
        "Explanation",
        "curl -F image=@photo.jpg 'http://localhost:8080/v1/explain?label_id=cat'",
    )


def _operation(
    summary: str,
    choices: tuple[tuple[str, str, str], ...],
    content: dict[str, Json],
    schema: str,
    example: str,
) -> Json:
    parameters: list[Json] = [
        {"name": name, "in": "query", "schema": {"type": kind}, "description": text}
        for name, kind, text in choices
    ]
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": content},
        "responses": _responses(schema),
        "x-codeSamples": [{"lang": "Shell", "source": example}],
    }


def _get(summary: str, schema: str) -> Json:
    return {"summary": summary, "responses": _responses(schema, "503", "504")}


def _plain(summary: str) -> Json:
    return {"summary": summary, "responses": {"200": {"description": "`ok`"}}}


def _responses(schema: str, *statuses: str) -> Json:
    good: Json = {"description": "The answer.", "content": {_JSON: {"schema": reference(schema)}}}
    failures: dict[str, Json] = {
        status: {"description": text, "content": {_JSON: {"schema": reference("Error")}}}
        for status, text in _ERRORS.items()
        if not statuses or status in statuses
    }
    return {"200": good, **failures}


def _one_image() -> dict[str, Json]:
    form: Json = {"type": "object", "required": ["image"], "properties": {"image": _file()}}
    return {
        "multipart/form-data": {"schema": form},
        "image/*": {"schema": _file()},
        "application/octet-stream": {"schema": _file()},
    }


def _file() -> Json:
    return {
        "type": "string",
        "format": "binary",
        "description": f"A JPEG, PNG or WebP file of at most {MAX_IMAGE_BYTES:,} bytes.",
    }


def _schemas() -> dict[str, Json]:
    prediction = object_of(label=_STRING, display_name=_STRING, score=_SCORE)
    answer: dict[str, Json] = {
        "path": _STRING,
        "model": _STRING,
        "version": _STRING,
        "predictions": {"type": "array", "items": prediction},
        "abstain": {"type": "boolean", "description": "A person had better decide."},
        "request_id": _STRING,
    }
    timings = object_of(
        decode_us=_COUNT, queue_us=_COUNT, engine_us=_COUNT, total_us=_COUNT, batch_size=_COUNT
    )
    rows: Json = {"type": "array", "items": {"type": "array", "items": _SCORE}}
    error = object_of(
        code=_STRING,
        message=_STRING,
        reason=_STRING,
        field=_STRING,
        retry_after_s={"type": "number"},
    )
    failed = object_of(path=_STRING, error=error)
    return {
        "Classification": object_of(**answer, timings=timings),
        "Explanation": object_of(**answer, explained=object_of(label=_STRING, map=rows)),
        "Batch": object_of(
            results={"type": "array", "items": {"oneOf": [reference("Classification"), failed]}}
        ),
        "Models": object_of(models={"type": "array", "items": {"type": "object"}}),
        "Health": object_of(server=_STRING, serving={"type": "boolean"}, status=_STRING),
        "Error": object_of(error=error),
    }


_STRING: Json = {"type": "string"}
_SCORE: Json = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT: Json = {"type": "integer", "minimum": 0}
