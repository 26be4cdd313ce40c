"""Makes `quantd/v1/` from the .proto files when a wheel or an editable install is built.

protoc (of the pinned grpcio-tools) compiles descriptors and type stubs. The modules hold the
descriptors and build their classes by the public API of protobuf, not by generated code of one
release of it: so one wheel serves every protobuf from 4.25 to 7, and every grpcio from 1.60.
"""

from __future__ import annotations

import pathlib
import tempfile
from importlib import resources
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NOT_FOR_USERS = ("worker_service",)
GENERATED = '"""Generated from quantd/v1/{name}.proto at build time."""\n\n'

MESSAGES = (
    GENERATED
    + """{imports}
from quantd.v1 import load

load.define(globals(), (
{data}))
"""
)
RPCS = GENERATED + "{imports}from quantd.rpc import SendRpc, StreamRpc, UnaryRpc\n\n{rpcs}"


class StubsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the .proto files into an sdist; makes modules of them for everything else."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files."""
        root = pathlib.Path(self.root)
        protos = root / "proto"  # of an sdist
        if not protos.is_dir():
            protos = root.parent.parent / "proto"  # of the repository
        if self.target_name == "sdist":
            for path in source_files(protos):
                name = path.relative_to(protos).as_posix()
                build_data["force_include"][str(path)] = f"proto/{name}"
            return
        generate(protos, root / "quantd" / "v1")


def source_files(protos: pathlib.Path) -> list[pathlib.Path]:
    """What the modules are made from."""
    return own_files(protos) + sorted((protos / "google" / "api").glob("*.proto"))


def own_files(protos: pathlib.Path) -> list[pathlib.Path]:
    """Those that become modules."""
    found = (protos / "quantd" / "v1").glob("*.proto")
    return sorted(path for path in found if path.stem not in NOT_FOR_USERS)


def generate(protos: pathlib.Path, out: pathlib.Path) -> None:
    """Writes the modules and their type stubs into `out`."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    known = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory(prefix="quantd-stubs-") as scratch:
        descriptors = pathlib.Path(scratch) / "descriptors"
        files = [str(path) for path in own_files(protos)]
        code = protoc.main(["protoc", f"-I{protos}", f"-I{known}", f"--pyi_out={scratch}",
                            f"--descriptor_set_out={descriptors}", "--include_imports", *files])
        if code != 0:
            raise RuntimeError(f"protoc ended with {code}")
        found = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
        for file in (file for file in found.file if file.package == "quantd.v1"):
            name = pathlib.PurePosixPath(file.name).stem
            write(out / f"{name}_pb2.py", messages_module(name, file))
            stub = pathlib.Path(scratch) / "quantd" / "v1" / f"{name}_pb2.pyi"
            write(out / f"{name}_pb2.pyi", stub.read_text("utf-8"))
            if file.service:
                write(out / f"{name}_rpc.py", rpcs_module(name, file, found.file))


def write(path: pathlib.Path, text: str) -> None:
    """Writes the file unless it says the same already."""
    if not path.is_file() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def module_of(proto: str) -> str:
    """The import statement for a .proto file."""
    package, name = proto[: -len(".proto")].rsplit("/", 1)
    return f"from {package.replace('/', '.')} import {name}_pb2 as _{name}  # noqa: F401\n"


def messages_module(name: str, file: Any) -> str:
    """The module of the messages and enums of one file."""
    data = file.SerializeToString()
    lines = [f"    {data[i:i + 32]!r}\n" for i in range(0, len(data), 32)]
    imports = "".join(sorted(module_of(path) for path in file.dependency))
    return MESSAGES.format(name=name, imports=imports, data="".join(lines))


def rpcs_module(name: str, file: Any, files: Any) -> str:
    """The module that has one `Rpc` per method of the file's services."""
    owner = {f".{other.package}.{message.name}": other.name
             for other in files for message in other.message_type}
    imports = set()

    def type_of(full: str) -> str:
        proto = owner[full]
        imports.add(module_of(proto))
        return f"_{pathlib.PurePosixPath(proto).stem}.{full.rsplit('.', 1)[1]}"

    rpcs = []
    for service in file.service:
        for method in service.method:
            path = f"/{file.package}.{service.name}/{method.name}"
            types = f"{type_of(method.input_type)}, {type_of(method.output_type)}"
            kind = "StreamRpc" if method.server_streaming else "UnaryRpc"
            kind = "SendRpc" if method.client_streaming else kind
            rpcs.append(f'{method.name} = {kind}(\n    "{path}", {types}\n)\n')
    return RPCS.format(name=name, imports="".join(sorted(imports)), rpcs="".join(rpcs))
