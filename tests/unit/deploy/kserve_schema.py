"""Print what KServe's own types say of its resources, as JSON Schema.

Run by the Python of ``make kserve-client``; the output is kserve.schema.json beside this. What is
of Kubernetes itself (containers, volumes) is left open here and checked with its own schemas.
"""

import inspect
import json
import re
import sys
from importlib.metadata import version

import kserve

ROOTS = ("V1alpha1ServingRuntime", "V1beta1InferenceService")
PLAIN = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "object": {},
}
# Of a predictor only what serves models in formats of one's own: the other frameworks would be
# most of the file.
LEFT_OUT = re.compile(r"^V1beta1(?!InferenceServiceSpec|PredictorSpec|ModelSpec|ModelFormat)")


def main() -> None:
    definitions: dict[str, object] = {}
    for root in ROOTS:
        define(root, definitions)
    schema = {
        "$comment": f"kserve {version('kserve')}; tests/unit/deploy/kserve_schema.py makes it",
        "oneOf": [{"$ref": f"#/$defs/{root}"} for root in ROOTS],
        "$defs": definitions,
    }
    sys.stdout.write(json.dumps(schema, indent=1, sort_keys=True) + "\n")


def define(name: str, definitions: dict[str, object]) -> None:
    if name in definitions:
        return
    model = getattr(kserve, name)
    definitions[name] = {}
    properties, required = {}, []
    for attribute, kind in model.openapi_types.items():
        key = model.attribute_map[attribute]
        properties[key] = schema_of(kind, definitions)
        setter = inspect.getsource(getattr(model, attribute).fset)
        if "must not be `None`" in setter:
            required.append(key)
    definitions[name] = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def schema_of(kind: str, definitions: dict[str, object]) -> dict[str, object]:
    if kind in PLAIN:
        return PLAIN[kind]
    if found := re.fullmatch(r"list\[(.*)\]", kind):
        return {"type": "array", "items": schema_of(found[1], definitions)}
    if found := re.fullmatch(r"dict\(str, (.*)\)", kind):
        return {"type": "object", "additionalProperties": schema_of(found[1], definitions)}
    if not hasattr(kserve, kind) or not re.match(r"V1(alpha1|beta1)", kind) or LEFT_OUT.match(kind):
        return {}
    define(kind, definitions)
    return {"$ref": f"#/$defs/{kind}"}


if __name__ == "__main__":
    main()
