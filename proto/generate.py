"""Regenerate the Python beside each .proto file: ``python -m proto.generate``.

Runs protoc through grpcio-tools with mypy-protobuf's plugins, from the
repository's root, so that generated imports read ``proto.classify.v1``.
The version of grpcio-tools is pinned in the dev extra: it decides the oldest
grpcio and protobuf that the generated code runs on.
"""

import sys
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sources() -> list[Path]:
    """All .proto files, relative to the repository's root, sorted."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / "proto").rglob("*.proto"))


def generate(output: Path) -> None:
    """Write *_pb2.py, *_pb2_grpc.py and their stubs below ``output``.

    Raises:
        RuntimeError: protoc refused a source; its message is on stderr.
    """
    from grpc_tools import protoc

    bundled = str(resources.files("grpc_tools") / "_proto")
    google = str(resources.files("google.rpc").joinpath("status.proto"))
    arguments = [
        "protoc",
        f"--proto_path={ROOT}",
        f"--proto_path={bundled}",
        f"--proto_path={Path(google).parent.parent.parent}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out={output}",
        f"--mypy_grpc_out={output}",
        *(str(source) for source in sources()),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed")


if __name__ == "__main__":
    generate(ROOT)
    sys.stdout.write(f"generated Python for {len(sources())} files\n")
