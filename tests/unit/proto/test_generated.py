"""The committed Python is what the .proto files generate."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import proto
from proto.generate import ROOT, sources

SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def test_the_package_is_ours_and_not_proto_plus() -> None:
    assert Path(proto.__file__).parent == ROOT / "proto"


def test_generated_code_has_not_drifted(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="needs grpcio-tools, of the dev extra")
    code = "import sys; from pathlib import Path; from proto.generate import generate;"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-c", f"{code} generate(Path(sys.argv[1]))", str(tmp_path)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
    )
    expected = [
        source.with_name(source.stem + suffix) for source in sources() for suffix in SUFFIXES
    ]
    for file in expected:
        assert (tmp_path / file).read_text() == (ROOT / file).read_text(), f"{file}: make proto"


def test_no_generated_file_is_left_without_its_source() -> None:
    generated = {path.relative_to(ROOT) for path in (ROOT / "proto").rglob("*_pb2*.py*")}
    generated = {path for path in generated if path.suffix in {".py", ".pyi"}}
    known = {source.with_name(source.stem + suffix) for source in sources() for suffix in SUFFIXES}
    assert generated == known
