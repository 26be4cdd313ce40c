"""Classes from the descriptors that the generated modules hold."""

from __future__ import annotations

from typing import Any, Dict

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper


def define(module: Dict[str, Any], serialized: bytes) -> None:
    """Puts the messages and enums of one file into the module's names.

    By parts of protobuf that all releases from 4.25 to 7 have alike, not by code of one of them.
    """
    pool = descriptor_pool.Default()  # type: ignore[no-untyped-call,unused-ignore]
    pool.AddSerializedFile(serialized)
    path = str(module["__name__"]).replace(".", "/")
    file = pool.FindFileByName(path[: -len("_pb2")] + ".proto")
    module["DESCRIPTOR"] = file
    for name, enum in file.enum_types_by_name.items():
        module[name] = enum_type_wrapper.EnumTypeWrapper(enum)
        for value in enum.values:
            module[value.name] = value.number
    for name, message in file.message_types_by_name.items():
        module[name] = _class_of(message)


def _class_of(message: Any) -> Any:
    made = message_factory.GetMessageClass(message)
    for name, nested in message.nested_types_by_name.items():
        # The implementation in pure Python leaves these to generated code.
        if not hasattr(made, name):
            setattr(made, name, _class_of(nested))
    return made
