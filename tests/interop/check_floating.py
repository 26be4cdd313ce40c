#!/usr/bin/env python3
"""Floating formats and odd widths in transformers and compressed-tensors: logits on CPU.

    check_floating.py --worker quantd-worker --model models/books-3m --out out/interop/floating

Floating number formats, and packed integers of widths that do not divide a word, which the library
decompresses to bfloat16 unless it is kept from it. Each artifact is loaded in float32 and compared
with quantd's own logits, as run.py does.

The library decompresses to bfloat16 what has scales of a type of its own: mxfp4's and mxfp8's
weights are bfloat16 already, nvfp4's are rounded once more. Those are compared twice: as the
library does it, and with its decompression in float32. Inputs that lie within float rounding of a
tie go one way here and the other way there.
"""

import argparse
import fnmatch
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch  # noqa: E402
from compressed_tensors.compressors.nvfp4 import base as nvfp4  # noqa: E402
from compressed_tensors.offload import remove_dispatch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, CompressedTensorsConfig  # noqa: E402

import artifact  # noqa: E402
import junit  # noqa: E402
import protocol  # noqa: E402

WINDOWS = 4
# name, flags, the root mean square of the differences to that of what quantization does to logits;
# for nvfp4 that, and with weights that are not rounded once more
SCHEMES = [
    ("mxfp4-rtn", "--method rtn --number-format mxfp4", [1e-4]),
    ("mxfp4-gptq", "--method gptq --number-format mxfp4 --samples 16", [1e-4]),
    ("mxfp8-rtn", "--method rtn --number-format mxfp8", [1e-3]),
    ("nvfp4-rtn", "--method rtn --number-format nvfp4", [0.05, 1e-4]),
    ("nvfp4-awq", "--method awq --number-format nvfp4 --samples 16", [0.05, 1e-4]),
    ("nvfp4-w4a4", "--method rtn --number-format nvfp4 --activations static --samples 16",
     [0.9, 0.6]),
    ("mxfp4-w4a4", "--method rtn --number-format mxfp4 --activations dynamic", [0.6]),
    ("mxfp8-w8a8", "--method rtn --number-format mxfp8 --activations dynamic", [0.6]),
    ("fp8-channel", "--method rtn --number-format fp8-e4m3", [1e-3]),
    ("fp8-dynamic", "--method rtn --number-format fp8-e4m3 --activations dynamic", [0.8]),
    ("fp8-static", "--method rtn --number-format fp8-e4m3 --granularity tensor "
     "--activations static --samples 16", [0.6]),
    ("fp8-block", "--method rtn --number-format fp8-block", [1e-3]),
    ("fp8-block-dynamic", "--method rtn --number-format fp8-block --activations dynamic", [0.8]),
    ("fp8-block-gptq", "--method gptq --number-format fp8-block --samples 16", [1e-3]),
    ("fp8-block-awq", "--method awq --number-format fp8-block --samples 16", [1e-3]),
    ("int2-g32", "--method rtn --bits 2 --group-size 32", [1e-4]),
    ("int3-g128", "--method gptq --bits 3 --symmetric --samples 16", [1e-4]),
    ("int5-g64", "--method rtn --bits 5 --group-size 64", [1e-4]),
    ("int6-channel", "--method rtn --bits 6 --granularity channel", [1e-4]),
    ("int7-g128", "--method rtn --bits 7", [1e-3]),
    ("int3-asym", "--method awq --bits 3 --samples 16", [0.1]),
    ("int5-asym", "--method rtn --bits 5 --asymmetric", [0.2]),
    ("int6-asym", "--method rtn --bits 6 --asymmetric", [0.4]),
    ("int7-asym", "--method rtn --bits 7 --asymmetric", [0.8]),
]


def load(folder, dequantize):
    """The model in float32. What the library decompresses to bfloat16, at the first forward pass if
    not before, stays so whatever dtype is asked for, in a cache that float() does not reach."""
    extra = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if dequantize else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **extra)
    if not dequantize:
        model.hf_quantizer.compressor.decompress_model(model)
        remove_dispatch(model, onload_tensors=True)
    return torch.nn.Module.float(model).eval()  # transformers' own float() refuses quantized models


def unpack_in_float32(packed, rows, columns, dtype=None, unpack=nvfp4.unpack_fp4_from_uint8):
    del dtype
    return unpack(packed, rows, columns, torch.float32)


def compare(row, limit, windows, folder, kl):
    """Whether the library's logits agree; prints a row."""
    # The default way fails for zero points that are packed (README.md).
    theirs = protocol.logits_of(load(folder, dequantize=row.endswith("asym")), windows)
    own = load_file(f"{folder}/quantd/logits.safetensors")
    found = protocol.scores(windows, own["original"], theirs)["kl_mean"]
    difference = own["quantized"] - theirs
    moved = own["quantized"] - own["original"]
    rms = (difference.pow(2).mean() / moved.pow(2).mean()).sqrt().item()
    passed = rms <= limit
    print(f"{'ok' if passed else 'WRONG':5} {row:18} rms {rms:.1e}, at most {limit:.0e}; largest "
          f"{difference.abs().max().item():.1e} of {moved.abs().max().item():.2f}; first 8 tokens "
          f"{difference[:, :8].abs().max().item():.1e}; KL quantd {kl:.6f}, library {found:.6f}",
          flush=True)
    return passed


def check(arguments, windows, name, flags, limits):
    """{row: whether it agrees} of one scheme, for each limit."""
    folder = os.path.join(arguments.out, name)
    report = artifact.quantize(arguments.worker, arguments.model, folder, flags, WINDOWS)
    kl = report["evaluation"]["kl_mean"]
    verdicts = {name: compare(name, limits[0], windows, folder, kl)}
    if len(limits) > 1:
        kept, nvfp4.unpack_fp4_from_uint8 = nvfp4.unpack_fp4_from_uint8, unpack_in_float32
        verdicts[name + " in f32"] = compare(name + " in f32", limits[1], windows, folder, kl)
        nvfp4.unpack_fp4_from_uint8 = kept
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", default="*", help="schemes whose name matches this glob")
    arguments = parser.parse_args()
    start = time.monotonic()
    os.makedirs(arguments.out, exist_ok=True)
    windows = protocol.cut_windows(arguments.model, f"{arguments.model}/evaluation.txt",
                                   artifact.TOKENS, WINDOWS)
    verdicts = {}
    for scheme in SCHEMES:
        if fnmatch.fnmatch(scheme[0], arguments.only):
            verdicts |= check(arguments, windows, *scheme)
    junit.write(os.path.join(arguments.out, "junit.xml"), "interop-floating", verdicts)
    passed = list(verdicts.values()).count(True)
    print(f"{passed} passed, {len(verdicts) - passed} failed in {time.monotonic() - start:.0f} s")
    return 0 if passed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
