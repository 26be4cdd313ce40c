"""GGUF of every family: a random model, written by quantd-worker, run by llama.cpp, compared.

F16 against transformers running the original in float32; Q8_0 against the logits that quantd
reports for the quantized model. llama_cpp.py says what is compared and how close it must be.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy
import torch
import transformers
from safetensors.torch import load_file

import families
import junit
import llama_cpp
import protocol

POSITIONS = range(3, 97, 3)
SHAPE = families.SHAPE
# The model called phi-three is a Phi-3: of what has "phi3" in its name llama.cpp wants tokens that
# the bundled tokenizer does not have. Gemma 3 has seven blocks: llama.cpp takes for granted that
# every sixth sees all positions.
GEMMA3 = SHAPE | dict(num_hidden_layers=7, head_dim=16, sliding_window=32,
                      query_pre_attn_scalar=16)
LONG = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]
SHORT = [1.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)

# name: configuration
MODELS = {
    "gemma": lambda: transformers.GemmaConfig(**SHAPE | dict(head_dim=16)),
    "gemma2": lambda: transformers.Gemma2Config(
        **SHAPE | dict(head_dim=16, sliding_window=32, query_pre_attn_scalar=16)),
    "gemma3_text": lambda: transformers.Gemma3TextConfig(**GEMMA3),
    "phi-three": lambda: transformers.Phi3Config(**SHAPE),
    "starcoder2": lambda: transformers.Starcoder2Config(**SHAPE | dict(sliding_window=None)),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SHAPE),
    "gpt_neox-sequential": lambda: transformers.GPTNeoXConfig(
        **SHAPE | dict(use_parallel_residual=False, rotary_pct=1.0)),
    "falcon": lambda: transformers.FalconConfig(
        **SHAPE | dict(new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=96)),
    "falcon-multi-query": lambda: transformers.FalconConfig(**SHAPE),
    "gpt2": lambda: transformers.GPT2Config(**SHAPE | dict(n_inner=96)),
    "mixtral": lambda: transformers.MixtralConfig(
        **SHAPE | dict(num_local_experts=4, num_experts_per_tok=2)),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **SHAPE | dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32,
                       norm_topk_prob=True, mlp_only_layers=[], head_dim=16)),
    "llama-linear": lambda: transformers.LlamaConfig(
        **SHAPE, rope_scaling=dict(rope_type="linear", factor=4.0)),
    "llama-llama3": lambda: transformers.LlamaConfig(
        **SHAPE, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                   high_freq_factor=4.0, original_max_position_embeddings=64)),
    "llama-yarn": lambda: transformers.LlamaConfig(**SHAPE, rope_scaling=YARN),
    "qwen2-yarn": lambda: transformers.Qwen2Config(**SHAPE, rope_scaling=YARN),
    "qwen2-yarn-factor": lambda: transformers.Qwen2Config(
        **SHAPE, rope_scaling=YARN | dict(attention_factor=0.9)),
    "gemma3_text-linear": lambda: transformers.Gemma3TextConfig(
        **GEMMA3, rope_scaling=dict(rope_type="linear", factor=8.0)),
    "phi-three-longrope-short": lambda: transformers.Phi3Config(
        **SHAPE | dict(max_position_embeddings=512, original_max_position_embeddings=256),
        rope_scaling=dict(type="longrope", short_factor=SHORT, long_factor=LONG)),
    "phi-three-longrope-long": lambda: transformers.Phi3Config(
        **SHAPE | dict(max_position_embeddings=256, original_max_position_embeddings=64),
        rope_scaling=dict(type="longrope", short_factor=SHORT, long_factor=LONG)),
}


def quantize(arguments, model, kind):
    """(the file, our logits)"""
    out = f"{model[:-len('-model')]}-{kind}"
    shutil.rmtree(out, ignore_errors=True)
    command = [arguments.worker, "quantize", model, "--out", out, "--method", "gguf", "--option",
               f"type={kind}", "--format", "gguf", "--samples", "4", "--evaluation",
               f"{arguments.model}/evaluation.txt", "--eval-windows", "1", "--seq-len", "96",
               "--logits-windows", "1", "--compute", "f32", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        raise ValueError(done.stderr[-600:])
    name = next(name for name in os.listdir(out) if name.endswith(".gguf"))
    return f"{out}/{name}", load_file(f"{out}/quantd/logits.safetensors")


def distance(name, kind, reference, answer):
    """Where experts are nearly equally liked, rounding to 8 bits chooses between them, and what
    comes out is that of another expert: of models with experts the median over positions counts."""
    if kind == "Q8_0" and name in ("mixtral", "qwen3_moe"):
        return float(numpy.median([llama_cpp.distance(*rows) for rows in zip(reference, answer)]))
    return llama_cpp.distance(reference, answer)


def check(arguments, name, kind):
    """Whether one family agrees in one type; prints a line."""
    model = f"{arguments.out}/{name}-model"
    if kind == "F16":
        families.make_model(MODELS[name](), torch.bfloat16, model, arguments.model)
    path, own = quantize(arguments, model, kind)
    reference = own["quantized"]
    if kind == "F16":
        reference = protocol.logits_of(families.load(name, model), own["ids"].long())
    reference = reference[0].double().log_softmax(-1).numpy()[[count - 1 for count in POSITIONS]]
    answer = llama_cpp.run(path, own["ids"][0].tolist(), POSITIONS)
    found = distance(name, kind, reference, answer.log_probabilities)
    limit = llama_cpp.limit_of(kind, random_weights=True)
    verdict = "ok" if found <= limit else "WRONG"
    print(f"{verdict:5} gguf {name:22} {kind:5} log probabilities {found:.2e}, at most {limit:.0e}",
          flush=True)
    return found <= limit


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", help="the model of that name")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    verdicts = {}
    for name in MODELS:
        if arguments.only not in (None, name):
            continue
        for kind in ("F16", "Q8_0"):
            try:
                verdicts[f"{name} {kind}"] = check(arguments, name, kind)
            except (ValueError, RuntimeError, json.JSONDecodeError) as error:
                print(f"WRONG gguf {name:22} {kind:5} {type(error).__name__}: {error}", flush=True)
                verdicts[f"{name} {kind}"] = False
    junit.write(f"{arguments.out}/junit.xml", "interop-gguf-families", verdicts)
    failed = list(verdicts.values()).count(False)
    print(f"{len(verdicts) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
