"""Compiles proto/ with grpcio-tools: the tests are a client that shares no code with the server."""

import importlib.resources
import pathlib
import sys
import tempfile

from grpc_tools import protoc

from programs import ROOT


def compile_protos():
    """Makes `quantd.v1.*_pb2` importable. Returns the temporary folder, to be cleaned up."""
    folder = tempfile.TemporaryDirectory(prefix="quantd-protos-")
    files = sorted(str(path) for path in (ROOT / "proto" / "quantd").rglob("*.proto"))
    known = importlib.resources.files("grpc_tools") / "_proto"
    code = protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{known}",
                        f"--python_out={folder.name}", f"--grpc_python_out={folder.name}", *files])
    assert code == 0, f"protoc ended with {code}"
    assert (pathlib.Path(folder.name) / "quantd" / "v1" / "job_pb2.py").is_file()
    sys.path.insert(0, folder.name)
    return folder
