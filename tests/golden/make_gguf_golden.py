"""Blocks of every GGUF element type and what gguf 0.19.0 makes of them: gguf_blocks.json.

    python make_gguf_golden.py        # in an environment with gguf==0.19.0, numpy==2.2.6

Blocks are random bytes, the halves in them replaced by scales that occur, by subnormals, by zero,
by both signs and by the largest half; and blocks of one byte repeated. Values are float32, as
base64 of their bytes.
"""

import base64
import json
import os

import gguf
import numpy

VERSION = "0.19.0"
# Where the halves of a block lie.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
SCALES = [0.0123, -0.0007, 6e-8, 0.0, 65504.0]


def blocks_of(name, random):
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    for number, scale in enumerate(SCALES):
        block = random.integers(0, 256, size, dtype=numpy.uint8)
        for place in HALVES[name]:
            half = numpy.array([scale * (1 + number % 2 * place / 100)])
            half = numpy.clip(half, -65504, 65504).astype(numpy.float16)
            block[place:place + 2] = half.view(numpy.uint8)
        yield block
    for byte in (0x00, 0x5a):
        yield numpy.full(size, byte, numpy.uint8)


def main():
    if gguf.__name__ and __import__("importlib.metadata").metadata.version("gguf") != VERSION:
        raise SystemExit(f"wanted gguf {VERSION}")
    random = numpy.random.default_rng(1)
    found = {"made_with": f"gguf {VERSION}", "types": {}}
    for name in HALVES:
        kind = gguf.GGMLQuantizationType[name]
        found["types"][name] = {"number": int(kind), "blocks": [
            {"bytes": base64.b64encode(block.tobytes()).decode(),
             "values": base64.b64encode(
                 gguf.quants.dequantize(block, kind).astype("<f4").tobytes()).decode()}
            for block in blocks_of(name, random)]}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf_blocks.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
