"""Recipes whose artifacts are compared: every method and format, several structures of models."""

import json
import os
import shutil
from dataclasses import dataclass

ROOT = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BOOKS = os.path.join(ROOT, "models", "books-3m")
GOLDEN = os.path.join(ROOT, "tests", "golden", "models")
FAST = "--samples 16 --seq-len 128 --eval-windows 4"
GGUF = "--format gguf --method gguf"


@dataclass(frozen=True)
class Case:
    name: str
    flags: str  # of quantd-worker quantize
    model: str = BOOKS


def books():
    rows = {
        "rtn-int4-sym": "--method rtn --bits 4 --symmetric",
        "rtn-int4-asym": "--method rtn --bits 4 --asymmetric",
        "rtn-int3": "--method rtn --bits 3 --format dequantized",
        "rtn-int4-absmax": "--method rtn --bits 4 --group-size 32 --scale-rule absmax",
        "rtn-int4-hessian": "--method rtn --bits 4 --scale-rule hessian",
        "rtn-int8-g128": "--method rtn --bits 8",
        "rtn-no-eval": "--method rtn --bits 4 --no-evaluation",
        "int8-w8a16": "--method int8 --activations none",
        "int8": "--method int8",
        "int8-static": "--method int8 --activations static",
        "int8-static-asym":
            "--method int8 --activations static --option activation_symmetric=false",
        "smoothquant": "--method smoothquant",
        "smoothquant-static": "--method smoothquant --activations static",
        "awq": "--method awq",
        "awq-awq": "--method awq --format awq",
        "awq-quantized": "--method awq --propagate quantized",
        "awq-gptq": "--method awq+gptq --bits 4 --symmetric --format gptq",
        "gptq": "--method gptq --symmetric",
        "gptq-quantized": "--method gptq --symmetric --propagate quantized",
        "gptq-asym-gptq": "--method gptq --format gptq",
        "gptq-int3-gptq": "--method gptq --bits 3 --group-size 64 --symmetric --format gptq",
        "gptq-desc-act": "--method gptq --symmetric --format gptq --option act_order=desc-act",
        "gptq-no-eval": "--method gptq --no-evaluation",
        "hqq": "--method hqq --format hqq --group-size 64",
        "hqq-axis-0": "--method hqq --format hqq --bits 2 --group-size 32 "
                      "--option weighted=false --option axis=0",
        "hqq-int1": "--method hqq --format hqq --bits 1 --group-size 16",
        "auto": "--method auto --option bits_per_weight=4.5 --format dequantized",
        "gguf-q4-k-m": f"{GGUF} --option type=Q4_K_M",
        "gguf-q2-k": f"{GGUF} --option type=Q2_K",
        "gguf-q8-0": f"{GGUF} --option type=Q8_0",
        "gguf-gptq": "--format gguf --method gptq --number-format Q4_K_M",
        "gguf-awq-gptq": "--format gguf --method awq+gptq --number-format Q3_K",
        "mixed": "--method rtn --bits 4 --override model.layers.1.mlp.*=skip "
                 "--override model.layers.2.*=rtn:bits=8:group_size=32 --format gptq --symmetric",
        "analyze": "--method awq --analyze",
        "shards": "--method awq --shard-bytes 1MiB",
    }
    return [Case(name, flags) for name, flags in rows.items()]


def structures():
    """Experts, biases, tied heads, norms with offsets, layer norms: models of the golden files."""
    cases = []
    for family in ("llama-biases", "mixtral", "qwen3_moe", "gemma2", "gpt2", "phi3",
                   "falcon-grouped", "opt"):
        for method in ("awq", "gptq", "int8", "hqq"):
            if family == "gpt2" and method == "int8":
                continue  # its weights are stored as [inputs, outputs]
            shape = "" if method == "int8" else "--group-size 16 --format dequantized"
            flags = f"--method {method} {shape}"
            cases.append(Case(f"{family}-{method}", flags, os.path.join(GOLDEN, family)))
    return cases


CASES = books() + structures()


def with_tokenizer(model, out):
    """The golden model with a tokenizer of words w0, w1, … and texts of them; returns the folder.

    Texts: one line of calibration.txt is a document. The words are those of a fixed generator.
    """
    folder = os.path.join(out, "models", os.path.basename(model))
    if os.path.exists(os.path.join(folder, "evaluation.txt")):
        return folder
    shutil.copytree(model, folder, dirs_exist_ok=True)
    with open(os.path.join(model, "config.json"), encoding="utf-8") as file:
        words = json.load(file)["vocab_size"]
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
                 "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
                 "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "unk_token": "w0",
                           "vocab": {f"w{word}": word for word in range(words)}}}
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer, file)
    state = 12345
    for name, lines in (("calibration", 64), ("evaluation", 32)):
        with open(os.path.join(folder, f"{name}.txt"), "w", encoding="utf-8") as file:
            for _ in range(lines):
                line = []
                for _ in range(200):
                    state = (state * 1103515245 + 12345) % 2**31
                    line.append(f"w{(state >> 8) % words}")
                file.write(" ".join(line) + "\n\n")
    return folder


def command(worker, case, folder, out, threads=None):
    """The arguments that quantize `case` into `out`; `folder` holds models that are made here."""
    model, text = case.model, []
    if model.startswith(GOLDEN):
        model = with_tokenizer(model, folder)
        text = ["--calibration", f"{model}/calibration.txt", "--evaluation",
                f"{model}/evaluation.txt"]
    threads = [] if threads is None else ["--threads", str(threads)]
    return [worker, "quantize", model, "--out", out, *FAST.split(), *case.flags.split(), *text,
            *threads]
