"""Copies of the bundled model with something wrong in them."""

import json
import shutil
import struct

from programs import MODEL


class Checkpoint:
    """A copy of the bundled model that can be damaged."""

    def __init__(self, folder, name):
        self.path = folder / name
        shutil.copytree(MODEL, self.path)
        self.weights = self.path / "model.safetensors"

    def edit_json(self, file, **changes):
        """Sets keys of a JSON file; None removes one."""
        path = self.path / file
        document = json.loads(path.read_text("utf-8"))
        for key, value in changes.items():
            document[key] = value
            if value is None:
                del document[key]
        path.write_text(json.dumps(document), "utf-8")
        return self

    def header(self):
        data = self.weights.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        return json.loads(data[8:8 + length]), length

    def write_header(self, header):
        """Replaces the header and keeps the bytes of the tensors."""
        _, length = self.header()
        tensors = self.weights.read_bytes()[8 + length:]
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self.weights.write_bytes(struct.pack("<Q", len(text)) + text + tensors)
        return self

    def edit_tensor(self, name, **changes):
        """Changes what the header says about one tensor."""
        header, _ = self.header()
        header[name].update(changes)
        return self.write_header(header)

    def claim_header_length(self, length):
        with open(self.weights, "r+b") as file:
            file.write(struct.pack("<Q", length))
        return self

    def cut(self, missing_bytes):
        size = self.weights.stat().st_size
        with open(self.weights, "r+b") as file:
            file.truncate(size - missing_bytes)
        return self

    def put_nan(self, name, element=1000):
        """One NaN in a bfloat16 tensor."""
        header, length = self.header()
        begin, _ = header[name]["data_offsets"]
        with open(self.weights, "r+b") as file:
            file.seek(8 + length + begin + 2 * element)
            file.write(b"\xc0\x7f")
        return self
