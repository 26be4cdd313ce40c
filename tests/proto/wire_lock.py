"""Holds the wire format of quantd.v1 still: proto/ against proto/quantd/v1/descriptor.txt.

    python3 tests/proto/wire_lock.py            # exit 1 for all that an old client would miss
    python3 tests/proto/wire_lock.py --update   # after an addition: lock it too

The lock has a line for each enum value, field, rpc and message. A line that is not there any more,
or says something else, is a break; new ones are additions and pass.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
LOCK = "proto/quantd/v1/descriptor.txt"
PACKAGE = "quantd.v1"
TOKEN = re.compile(r'\s*(?:([\w.\[\]/-]+)\s*(:|\{)?|(\})|"((?:[^"\\]|\\.)*)")')


def parse(text):
    """The text format of a message as {name: [values]}; values are strings or such dictionaries."""
    stack = [{}]
    name = None
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"not text format: {text[at:at + 40]!r}")
        at = found.end()
        word, mark, close, string = found.groups()
        if close:
            stack.pop()
        elif string is not None or (name is not None and mark is None):
            stack[-1].setdefault(name, []).append(string if string is not None else word)
            name = None
        elif mark == "{":
            inner = {}
            stack[-1].setdefault(word, []).append(inner)
            stack.append(inner)
        else:
            name = word
    return stack[0]


def first(entry, name, fallback=""):
    return entry.get(name, [fallback])[0]


def describe_enum(enum, scope):
    name = f"{scope}.{first(enum, 'name')}"
    for value in enum.get("value", []):
        yield f"enum {name} {first(value, 'number')}", first(value, "name")


def describe_field(field, oneofs, maps):
    """What the field carries: whether it may be absent, its type, which oneof it is in."""
    kind = first(field, "type").removeprefix("TYPE_").lower()
    target = first(field, "type_name").lstrip(".")
    label = "repeated " if first(field, "label") == "LABEL_REPEATED" else ""
    if first(field, "proto3_optional") == "true":
        label = "optional "
    elif "oneof_index" in field:
        label = f"oneof {oneofs[int(first(field, 'oneof_index'))]} "
    if target in maps:
        label, kind, target = "", maps[target], ""
    return f"{first(field, 'name')} {label}{kind}{' ' + target if target else ''}"


def describe_message(message, scope):
    name = f"{scope}.{first(message, 'name')}"
    yield f"message {name}", ""
    oneofs = [first(oneof, "name") for oneof in message.get("oneof_decl", [])]
    maps = {}
    for nested in message.get("nested_type", []):
        if first(first(nested, "options", {}), "map_entry") != "true":
            continue
        key, value = (describe_field(field, [], {}).split(" ", 1)[1] for field in nested["field"])
        maps[f"{name}.{first(nested, 'name')}"] = f"map<{key}, {value}>"
    for field in message.get("field", []):
        yield (f"field {name} {first(field, 'number')}", describe_field(field, oneofs, maps))
    for nested in message.get("nested_type", []):
        if f"{name}.{first(nested, 'name')}" not in maps:
            yield from describe_message(nested, name)
    for enum in message.get("enum_type", []):
        yield from describe_enum(enum, name)


def describe_service(service, scope):
    name = f"{scope}.{first(service, 'name')}"
    for rpc in service.get("method", []):
        streams = ["stream " if first(rpc, f"{side}_streaming") == "true" else ""
                   for side in ("client", "server")]
        types = [first(rpc, f"{side}_type").lstrip(".") for side in ("input", "output")]
        yield (f"rpc {name} {first(rpc, 'name')}",
               f"{streams[0]}{types[0]} -> {streams[1]}{types[1]}")


def describe(file):
    scope = first(file, "package")
    for message in file.get("message_type", []):
        yield from describe_message(message, scope)
    for enum in file.get("enum_type", []):
        yield from describe_enum(enum, scope)
    for service in file.get("service", []):
        yield from describe_service(service, scope)


def read_protos(folder, protoc="protoc"):
    """{what: how} of every file of the package below `folder`."""
    names = []
    for at, _, files in os.walk(os.path.join(folder, PACKAGE.replace(".", "/"))):
        names += [os.path.join(at, name) for name in files if name.endswith(".proto")]
    with tempfile.TemporaryDirectory() as scratch:
        compiled = os.path.join(scratch, "set")
        subprocess.run([protoc, f"--proto_path={folder}", f"--descriptor_set_out={compiled}",
                        *sorted(names)], check=True)
        with open(compiled, "rb") as file:
            text = subprocess.run([protoc, "--decode=google.protobuf.FileDescriptorSet",
                                   "google/protobuf/descriptor.proto"], stdin=file, check=True,
                                  capture_output=True, text=True).stdout
    return {what: how for file in parse(text)["file"] for what, how in describe(file)}


def to_text(entries):
    return "".join(f"{what}: {how}\n" if how else f"{what}\n"
                   for what, how in sorted(entries.items(), key=lambda entry: sort_key(entry[0])))


def sort_key(what):
    kind, name, *rest = what.split(" ")
    return kind, name, [int(part) if part.isdigit() else part for part in rest]


def from_text(text):
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    return {what: how for what, _, how in (line.partition(": ") for line in lines)}


def breaks(locked, now):
    """One line per entry that is gone or says something else."""
    found = []
    for what, how in locked.items():
        if what not in now:
            found.append(f"{what}: removed, was \"{how}\"" if how else f"{what}: removed")
        elif now[what] != how:
            found.append(f"{what}: was \"{how}\", is \"{now[what]}\"")
    return found


HEADER = """# The wire format of quantd.v1, made by tests/proto/wire_lock.py --update; a test
# compares it with the .proto files. Lines are only ever added.
"""


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=ROOT)
    parser.add_argument("--protoc", default="protoc")
    parser.add_argument("--update", action="store_true", help="lock additions; breaks are refused")
    options = parser.parse_args(arguments)
    lock = os.path.join(options.root, LOCK)
    locked = {}
    if os.path.exists(lock):
        with open(lock, encoding="utf-8") as file:
            locked = from_text(file.read())
    now = read_protos(os.path.join(options.root, "proto"), options.protoc)
    found = breaks(locked, now)
    for line in found:
        print(line)
    added = [what for what in now if what not in locked]
    print(f"{len(locked)} locked, {len(found)} broken, {len(added)} not locked yet")
    if options.update and not found:
        with open(lock, "w", encoding="utf-8") as file:
            file.write(HEADER + to_text(now))
    return 1 if found or not locked and not options.update else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
