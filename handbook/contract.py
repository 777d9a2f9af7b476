"""The pages of the gRPC contract: every service, message and enum with its comments."""

import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from handbook.text import code, table

ROOT = Path(__file__).resolve().parent.parent
_TYPES = FieldDescriptorProto.Type
# Where things stand in a file's descriptor: descriptor.proto of protobuf.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _NESTED_ENUMS, _METHODS, _VALUES = 2, 3, 4, 2, 2

Comments = dict[tuple[int, ...], str]


def page(package: str, title: str) -> str:
    """Return the page of a package, such as ``classify.v1``, in Markdown."""
    parts = [f"# {title}\n"]
    for file in _described(package):
        parts.append(f"## {Path(file.name).name}\n\n{_comment(file, (12,))}\n")
        parts += _file(file)
    return "\n".join(parts)


def _described(package: str) -> Sequence[FileDescriptorProto]:
    """Return the package's files as protoc reads them, comments included."""
    sources = sorted((ROOT / "proto").rglob("*.proto"))
    google = Path(str(resources.files("google.rpc").joinpath("status.proto"))).parent.parent.parent
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "set")
        arguments = ["protoc", f"--proto_path={ROOT}", f"--proto_path={google}"]
        arguments += [f"--proto_path={resources.files('grpc_tools') / '_proto'}"]
        arguments += ["--include_source_info", f"--descriptor_set_out={output}", *map(str, sources)]
        if protoc.main(arguments) != 0:
            raise RuntimeError("protoc failed")
        found = FileDescriptorSet.FromString(output.read_bytes())
    return [file for file in found.file if file.package == package]


def _comments(file: FileDescriptorProto) -> Comments:
    return {
        tuple(place.path): (place.leading_comments or place.trailing_comments).strip()
        for place in file.source_code_info.location
    }


def _comment(file: FileDescriptorProto, path: tuple[int, ...]) -> str:
    """Return the comment on a line; that on ``syntax`` (12) is about the file."""
    return _comments(file).get(path, "")


def _file(file: FileDescriptorProto) -> Iterator[str]:
    comments = _comments(file)
    for i, service in enumerate(file.service):
        yield _service(service, comments, (_SERVICES, i))
    for i, message in enumerate(file.message_type):
        yield from _message(message, comments, (_MESSAGES, i), "")
    for i, enum in enumerate(file.enum_type):
        yield _enum(enum, comments, (_ENUMS, i), "")


def _service(service: ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]) -> str:
    rows = [
        (
            code(method.name),
            f"{'stream ' if method.client_streaming else ''}{_link(method.input_type)}",
            f"{'stream ' if method.server_streaming else ''}{_link(method.output_type)}",
            comments.get((*path, _METHODS, i), ""),
        )
        for i, method in enumerate(service.method)
    ]
    methods = table(("call", "takes", "gives", "what it does"), rows)
    return f"### {service.name}\n\n{comments.get(path, '')}\n\n{methods}"


def _message(
    message: DescriptorProto, comments: Comments, path: tuple[int, ...], outer: str
) -> Iterator[str]:
    name = f"{outer}{message.name}"
    if message.options.map_entry:
        return
    rows = [
        (code(field.name), str(field.number), _type(field, message), comments.get(at, ""))
        for i, field in enumerate(message.field)
        for at in [(*path, _FIELDS, i)]
    ]
    fields = table(("field", "number", "type", "what it is"), rows) if rows else "No fields.\n"
    yield f"### {name}\n\n{comments.get(path, '')}\n\n{fields}"
    for i, inner in enumerate(message.nested_type):
        yield from _message(inner, comments, (*path, _NESTED, i), f"{name}.")
    for i, enum in enumerate(message.enum_type):
        yield _enum(enum, comments, (*path, _NESTED_ENUMS, i), f"{name}.")


def _enum(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...], outer: str) -> str:
    rows = [
        (code(value.name), str(value.number), comments.get((*path, _VALUES, i), ""))
        for i, value in enumerate(enum.value)
    ]
    values = table(("value", "number", "what it means"), rows)
    return f"### {outer}{enum.name}\n\n{comments.get(path, '')}\n\n{values}"


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    entry = next(
        (
            inner
            for inner in message.nested_type
            if inner.options.map_entry and field.type_name.endswith(f".{inner.name}")
        ),
        None,
    )
    if entry is not None:
        key, value = (_type(part, entry) for part in entry.field)
        return f"map of {key} to {value}"
    name = _link(field.type_name) if field.type_name else _TYPES.Name(field.type)[5:].lower()
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def _link(type_name: str) -> str:
    """Return a message's name, linked where it stands on the same page."""
    for package in (".classify.v1.", ".inference."):
        if type_name.startswith(package):
            name = type_name.removeprefix(package)
            return f"[{name}](#{name.replace('.', '').lower()})"
    return code(type_name.removeprefix("."))
