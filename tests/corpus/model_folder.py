"""A copy of the bundled model whose every file and tensor can be changed."""

import json
import pathlib
import shutil
import struct

MODEL = pathlib.Path(__file__).resolve().parents[2] / "models" / "books-3m"
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


def read_safetensors(path):
    """Name -> (dtype, shape, bytes)."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    begin = 8 + length
    return {name: (row["dtype"], row["shape"],
                   data[begin + row["data_offsets"][0]:begin + row["data_offsets"][1]])
            for name, row in header.items()}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        end = offset + len(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text +
                     b"".join(data for _, _, data in tensors.values()))


class ModelFolder:
    """`tensors` and `config` are changed in place; write() puts them there."""

    def __init__(self, path):
        self.path = path
        path.mkdir(parents=True)
        for name in FILES:
            shutil.copy(MODEL / name, path)
        self.tensors = read_safetensors(MODEL / "model.safetensors")
        self.config = json.loads((MODEL / "config.json").read_text("utf-8"))

    def write(self, shards=1, index=True, name="model.safetensors"):
        (self.path / "config.json").write_text(json.dumps(self.config), "utf-8")
        if shards == 1:
            write_safetensors(self.path / name, self.tensors)
            return
        names = sorted(self.tensors)
        weight_map = {}
        for shard in range(shards):
            file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
            part = {each: self.tensors[each] for each in names[shard::shards]}
            write_safetensors(self.path / file, part)
            weight_map |= {each: file for each in part}
        if index:
            self.write_index(weight_map)

    def write_index(self, weight_map):
        text = json.dumps({"metadata": {}, "weight_map": weight_map})
        (self.path / "model.safetensors.index.json").write_text(text, "utf-8")

    def put(self, name, content="x"):
        data = content if isinstance(content, bytes) else content.encode()
        (self.path / name).write_bytes(data)

    def remove(self, name):
        (self.path / name).unlink()
