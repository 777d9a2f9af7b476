"""What programs read: one JSON object a line, in pure ASCII, hence valid UTF-8 anywhere."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict

from client.cli.text import encodable
from client.errors import ClassifyError, ClientError
from client.health import HealthStatus
from client.results import Classification, ModelInfo

# JSON as this package writes it.
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_SCORE_DIGITS = 6


def write_line(value: Json) -> None:
    """Write an object to standard output at once, so that a reader need not wait."""
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
    sys.stdout.flush()


def image_object(path: str, result: Classification, *, verbose: bool) -> Json:
    """Return the object of an image that was classified."""
    predictions: list[Json] = [
        {"label": p.id, "display_name": p.display_name, "score": _number(p.score)}
        for p in result.predictions
    ]
    line: dict[str, Json] = {
        "path": encodable(path),
        "model": result.model,
        "version": result.version,
        "predictions": predictions,
    }
    if result.abstain is not None:
        line["abstain"] = result.abstain
    if result.novelty is not None:
        line["novel"] = result.novelty.is_novel
    if result.prediction_set is not None:
        line["prediction_set"] = [one.id for one in result.prediction_set.predictions]
    if verbose:
        line |= {"request_id": result.request_id, "timings": dict(asdict(result.timings))}
    return line


def explained_object(path: str, result: Classification) -> Json:
    """Return the object of an image that was explained; rows of the map are lists."""
    line = image_object(path, result, verbose=False)
    if not isinstance(line, dict) or result.explanation is None:
        return line
    found = result.explanation
    rows: list[Json] = [[_number(value) for value in row] for row in found.map]
    return line | {"explained": {"label": found.prediction.id, "map": rows}}


def trace_object(answer: Classification, model: ModelInfo) -> Json:
    """Return the object of an answer and of what stands behind it."""
    described = model_object(model)
    origin: dict[str, Json] = {
        "data_fingerprint": model.data_fingerprint,
        "recipe": json.loads(json.dumps(dict(model.recipe))),
        "libraries": dict(model.libraries),
    }
    line = image_object(answer.request_id, answer, verbose=True)
    if not isinstance(line, dict) or not isinstance(described, dict):
        return line
    line.pop("path")
    return line | {"digest": answer.digest, "behind": described | origin}


def failed_image_object(path: str, error: ClientError) -> Json:
    """Return the object of an image that was not classified."""
    return {"path": encodable(path), "error": error_object(error)}


def error_object(error: ClientError) -> dict[str, Json]:
    """Return code and message, and what else the server told."""
    told: dict[str, Json] = {"code": error.code, "message": encodable(error.message)}
    if error.reason:
        told["reason"] = error.reason
    if isinstance(error, ClassifyError):
        if error.field:
            told["field"] = error.field
        if error.retry_after_s is not None:
            told["retry_after_s"] = error.retry_after_s
    return told


def model_object(model: ModelInfo) -> Json:
    """Return the object of a model version."""
    labels: list[Json] = [
        {"label": label.id, "display_name": label.display_name} for label in model.labels
    ]
    return {
        "model": model.name,
        "version": model.version,
        "default": model.is_default,
        "state": model.state,
        "state_reason": model.state_reason,
        "version_labels": list(model.version_labels),
        "labels": labels,
        "input": dict(asdict(model.input)),
        "network": model.network,
        "created": model.created.isoformat() if model.created else None,
        "metrics": {name: _number(value) for name, value in sorted(model.metrics.items())},
        "digest": model.digest,
        "engine": model.engine,
        "device": model.capacity.device if model.capacity else None,
        "tuning": model.tuning or None,
    }


def health_object(address: str, statuses: Mapping[str, HealthStatus], *, serving: bool) -> Json:
    """Return the object of a server that answered; the empty name is the server as a whole."""
    services: dict[str, Json] = {name: str(status) for name, status in statuses.items() if name}
    return {
        "server": address,
        "serving": serving,
        "status": str(statuses[""]),
        "services": services,
    }


def _number(value: float) -> float | None:
    """Return a number that JSON can hold, without the noise of float32."""
    return round(value, _SCORE_DIGITS) if math.isfinite(value) else None
