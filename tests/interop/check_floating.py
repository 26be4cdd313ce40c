#!/usr/bin/env python3
"""Floating number formats in transformers 5.24 with compressed-tensors 0.20: logits on CPU.

    check_floating.py --worker quantd-worker --model models/books-3m --out out/interop/floating

An environment of its own (requirements-floating.txt): the one of run.py is older than the formats.
Each artifact is loaded in float32 and compared with quantd's own logits, as run.py does. The
library decompresses to bfloat16 what has scales of a type of its own (nvfp4, mxfp4, mxfp8), and
multiplies fp8 by its scale in the type of the scale: of these the weights are rounded once more,
except that mxfp4's and mxfp8's are bfloat16 already. Inputs that lie within float rounding of a tie
go one way here and the other way there.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch  # noqa: E402
from compressed_tensors.offload import remove_dispatch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

import protocol  # noqa: E402

TOKENS, WINDOWS = 512, 4
# name, flags, the root mean square of the differences to that of what quantization does to logits
SCHEMES = [
    ("mxfp4-rtn", "--method rtn --number-format mxfp4", 1e-4),
    ("mxfp4-gptq", "--method gptq --number-format mxfp4 --samples 16", 1e-4),
    ("mxfp8-rtn", "--method rtn --number-format mxfp8", 1e-3),
    ("nvfp4-rtn", "--method rtn --number-format nvfp4", 0.05),
    ("nvfp4-awq", "--method awq --number-format nvfp4 --samples 16", 0.05),
    ("nvfp4-w4a4", "--method rtn --number-format nvfp4 --activations static --samples 16", 0.6),
    ("mxfp4-w4a4", "--method rtn --number-format mxfp4 --activations dynamic", 0.6),
    ("mxfp8-w8a8", "--method rtn --number-format mxfp8 --activations dynamic", 0.6),
    ("fp8-channel", "--method rtn --number-format fp8-e4m3", 0.1),
    ("fp8-dynamic", "--method rtn --number-format fp8-e4m3 --activations dynamic", 0.6),
    ("fp8-static", "--method rtn --number-format fp8-e4m3 --granularity tensor "
     "--activations static --samples 16", 0.6),
]


def load(folder):
    """The model in float32. What the library decompresses to bfloat16, at the first forward pass if
    not before, stays so whatever dtype is asked for, in a cache that float() does not reach."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.hf_quantizer.compressor.decompress_model(model)
    remove_dispatch(model, onload_tensors=True)
    return torch.nn.Module.float(model).eval()  # transformers' own float() refuses quantized models


def check(arguments, windows, name, flags, limit):
    """Whether one scheme agrees; prints its row."""
    folder = os.path.join(arguments.out, name)
    subprocess.run(["rm", "-rf", folder], check=True)
    command = [arguments.worker, "quantize", arguments.model, "--out", folder, *flags.split(),
               "--evaluation", f"{arguments.model}/evaluation.txt", "--eval-windows", str(WINDOWS),
               "--seq-len", str(TOKENS), "--logits-windows", str(WINDOWS), "--compute", "f32",
               "--json"]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    ours = json.loads(printed)["evaluation"]["kl_mean"]
    model = load(folder)
    own = load_file(f"{folder}/quantd/logits.safetensors")
    theirs = protocol.logits_of(model, windows)
    found = protocol.scores(windows, own["original"], theirs)["kl_mean"]
    difference = own["quantized"] - theirs
    moved = own["quantized"] - own["original"]
    rms = (difference.pow(2).mean() / moved.pow(2).mean()).sqrt().item()
    passed = rms <= limit
    print(f"{'ok' if passed else 'WRONG':5} {name:12} rms {rms:.2e}, at most {limit:.0e}; largest "
          f"{difference.abs().max().item():.2e} of {moved.abs().max().item():.2f}; first 8 tokens "
          f"{difference[:, :8].abs().max().item():.2e}; KL quantd {ours:.6f}, library {found:.6f}")
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", default="*", help="schemes whose name matches this glob")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    windows = protocol.cut_windows(arguments.model, f"{arguments.model}/evaluation.txt", TOKENS,
                                   WINDOWS)
    verdicts = [check(arguments, windows, *scheme) for scheme in SCHEMES
                if fnmatch.fnmatch(scheme[0], arguments.only)]
    print(f"{verdicts.count(True)} passed, {verdicts.count(False)} failed")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
