"""What ``/openapi.json`` says of the Open Inference Protocol."""

from client.cli.json_lines import Json
from client.web.json_schema import array_of, object_of, reference
from client.web.oip_tensors import MAX_JSON_BYTES

_JSON = "application/json"
_ERRORS = {
    "400": "The request is malformed, or the image is.",
    "404": "No such model or version.",
    "413": "The body is larger than allowed.",
    "429": "A quota is used up; see `Retry-After`.",
    "501": "Not done here: loading models without `--admin-server`.",
    "503": "The server is not reached, or not ready; worth a retry.",
    "504": "No answer in time.",
}
_TEXT: Json = {"type": "string"}
_NUMBERS: Json = {"type": "array", "items": {"type": "integer"}}
_PARAMETERS: Json = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}


def inference_paths() -> dict[str, Json]:
    """Return the protocol's paths."""
    model = "/v2/models/{model}"
    paths: dict[str, Json] = {
        "/v2": {"get": _get("Say what the server is.", "OipServer")},
        "/v2/health/live": {"get": _get("Say whether the server answers.", "OipState")},
        "/v2/health/ready": {"get": _get("200 while it takes requests, else 503.", "OipState")},
    }
    for path in (model, f"{model}/versions/{{version}}"):
        named = _path_parameters(path)
        paths |= {
            path: {"get": _get("Say what a model takes and gives.", "OipModel", named)},
            f"{path}/ready": {
                "get": _get("200 while the model takes requests, else 503.", "OipState", named)
            },
            f"{path}/config": {"get": _get("The same in Triton's words.", "OipConfig", named)},
            f"{path}/stats": {
                "get": _get("Say what it was asked and what it took.", "OipStats", named)
            },
            f"{path}/infer": {"post": _infer(path, named)},
        }
    paths["/v2/models/stats"] = {"get": _get("The same of all models.", "OipStats")}
    repository = "/v2/repository/models/{model}"
    named = _path_parameters(repository)
    paths["/v2/repository/index"] = {
        "post": _post("List the versions in the repository.", "OipIndexRequest", "OipIndex", [])
    }
    for verb in ("load", "unload"):
        summary = f"{verb.title()} a model; where the gateway has `--admin-server`."
        told = _post(summary, "OipRepositoryRequest", "OipNothing", named)
        paths[f"{repository}/{verb}"] = {"post": told}
    return paths


def inference_schemas() -> dict[str, Json]:
    """Return the schemas that they refer to."""
    tensor: dict[str, Json] = {
        "name": _TEXT,
        "datatype": _TEXT,
        "shape": _NUMBERS,
        "parameters": _PARAMETERS,
        "data": {"type": "array", "items": {}},
    }
    wanted = object_of(name=_TEXT, parameters=_PARAMETERS)
    described = object_of(name=_TEXT, datatype=_TEXT, shape=_NUMBERS)
    state: dict[str, Json] = {"name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT}
    return {
        "OipServer": object_of(name=_TEXT, version=_TEXT, extensions=array_of(_TEXT)),
        "OipState": {"type": "object", "additionalProperties": {"type": ["boolean", "string"]}},
        "OipModel": object_of(
            name=_TEXT,
            versions=array_of(_TEXT),
            platform=_TEXT,
            inputs=array_of(described),
            outputs=array_of(described),
        ),
        "OipConfig": {"type": "object"},
        "OipStats": object_of(model_stats=array_of({"type": "object"})),
        "OipRequest": object_of(
            id=_TEXT,
            parameters=_PARAMETERS,
            inputs={"type": "array", "minItems": 1, "maxItems": 1, "items": object_of(**tensor)},
            outputs=array_of(wanted),
        ),
        "OipAnswer": object_of(
            model_name=_TEXT, model_version=_TEXT, id=_TEXT, outputs=array_of(object_of(**tensor))
        ),
        "OipIndexRequest": object_of(ready={"type": "boolean"}),
        "OipIndex": array_of(object_of(**state)),
        "OipRepositoryRequest": object_of(parameters=_PARAMETERS),
        "OipNothing": {"type": "object"},
        "OipError": object_of(error=_TEXT),
    }


def _infer(path: str, parameters: list[Json]) -> Json:
    binary: Json = {"type": "string", "format": "binary", "description": "JSON, tensors behind it."}
    answer: dict[str, Json] = {
        _JSON: {"schema": reference("OipAnswer")},
        "application/octet-stream": {"schema": binary},
    }
    length: Json = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "schema": {"type": "integer", "maximum": MAX_JSON_BYTES},
        "description": "How much of the body is JSON, where the contents of tensors stand behind.",
    }
    example = "http://localhost:8080" + path.replace("{model}", "cats-vs-dogs")
    tensor = '{"name":"image","datatype":"BYTES","shape":[1],"parameters":{"content_type":"base64"}'
    return {
        "summary": "Classify images.",
        "parameters": [*parameters, length],
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {"schema": reference("OipRequest")},
                "application/octet-stream": {"schema": binary},
            },
        },
        "responses": _responses(answer),
        "x-codeSamples": [
            {
                "lang": "Shell",
                "source": "jq -nc --rawfile b <(base64 -w0 photo.jpg) "
                f'\'{{"inputs":[{tensor},"data":[$b]}}]}}\' |\n'
                f"  curl --data-binary @- {example.replace('{version}', '1')}/infer",
            }
        ],
    }


def _get(summary: str, schema: str, parameters: list[Json] | None = None) -> Json:
    return {
        "summary": summary,
        "parameters": parameters or [],
        "responses": _responses({_JSON: {"schema": reference(schema)}}),
    }


def _post(summary: str, body: str, schema: str, parameters: list[Json]) -> Json:
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"content": {_JSON: {"schema": reference(body)}}},
        "responses": _responses({_JSON: {"schema": reference(schema)}}),
    }


def _responses(content: dict[str, Json]) -> Json:
    failures: dict[str, Json] = {
        status: {"description": text, "content": {_JSON: {"schema": reference("OipError")}}}
        for status, text in _ERRORS.items()
    }
    return {"200": {"description": "The answer.", "content": content}, **failures}


def _path_parameters(path: str) -> list[Json]:
    texts = {"model": "The model's name.", "version": "The version number."}
    return [
        {"name": name, "in": "path", "required": True, "schema": _TEXT, "description": text}
        for name, text in texts.items()
        if f"{{{name}}}" in path
    ]
