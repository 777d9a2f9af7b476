"""Words of JSON Schema for the description of the HTTP interface."""

from client.cli.json_lines import Json


def object_of(**properties: Json) -> Json:
    """Return the schema of an object with these members."""
    return {"type": "object", "properties": dict(properties)}


def array_of(items: Json) -> Json:
    """Return the schema of a list of these."""
    return {"type": "array", "items": items}


def reference(schema: str) -> Json:
    """Return a reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}
