#!/usr/bin/env python3
"""Writes kv_cache.json: tiny models with an FP8 cache of keys and values, by compressed-tensors.

Needs torch 2.15.0, transformers 5.17.0 and compressed-tensors 0.20.0 (transformers 5.24 calls the
cache of an attention by another name: the library then finds none, and rounds nothing). Of some of
models/, in float32 and on the tokens of their golden_logits.json: the scales of each block by the
library's own formula from the keys and values that reach its cache; the logits of the last tokens
with the cache rounded by them and without; and kv_cache_scheme as a configuration saves it.
"""

import argparse
import json
import pathlib

import compressed_tensors
import torch
import transformers
from compressed_tensors.modeling.kvcache import register_key_hook, register_value_hook
from compressed_tensors.quantization import (
    QuantizationArgs, QuantizationConfig, apply_quantization_config, disable_quantization,
    enable_quantization)
from compressed_tensors.quantization.lifecycle.initialize import is_cached_attention_module
from compressed_tensors.quantization.utils import calculate_qparams

VERSIONS = {"compressed_tensors": "0.20.0", "transformers": "5.17.0", "torch": "2.15.0"}
MODELS = ["llama", "llama-biases", "llama-rope-llama3", "mistral-window", "qwen2-tied-window",
          "qwen3", "gemma2", "gemma3_text", "phi3", "opt", "starcoder2"]
LAST = 12
FOLDER = pathlib.Path(__file__).parent


def rows(logits):
    return [[round(float(value), 6) for value in row] for row in logits[-LAST:]]


def make_case(name):
    folder = FOLDER / "models" / name
    ids = torch.tensor([json.loads((folder / "golden_logits.json").read_text())["ids"]])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    args = QuantizationArgs(num_bits=8, type="float", strategy="tensor", dynamic=False,
                            symmetric=True)
    apply_quantization_config(model, QuantizationConfig(config_groups={}, kv_cache_scheme=args))
    attentions = [(path, module) for path, module in model.named_modules()
                  if is_cached_attention_module(module)]
    seen = {}
    hooks = []
    for path, module in attentions:
        for which, register in (("k", register_key_hook), ("v", register_value_hook)):
            def keep(_, states, key=(path, which)):
                seen[key] = states
            hooks.append(register(module, keep))
    model.apply(disable_quantization)
    with torch.no_grad():
        plain = model(ids).logits[0]
        for hook in hooks:
            hook.remove()
        blocks = []
        for path, module in attentions:
            scales = {}
            for which in ("k", "v"):
                states = seen[path, which]
                scale, _ = calculate_qparams(states.amin(), states.amax(), args)
                getattr(module, f"{which}_scale").data.copy_(scale)
                scales[which] = float(scale)
            blocks.append({"module": path, **scales})
        model.apply(enable_quantization)
        cached = model(ids).logits[0]
    assert not torch.equal(plain, cached), name
    return {"model": name, "ids": ids[0].tolist(), "blocks": blocks,
            "plain": rows(plain), "cached": rows(cached)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER / "kv_cache.json")
    out = parser.parse_args().out
    for module in (compressed_tensors, transformers, torch):
        got, wanted = module.__version__.split("+")[0], VERSIONS[module.__name__]
        if got != wanted:
            raise SystemExit(f"{module.__name__}: got {got}, wanted {wanted}")
    args = QuantizationArgs(num_bits=8, type="float", strategy="tensor", dynamic=False,
                            symmetric=True)
    config = QuantizationConfig(config_groups={}, kv_cache_scheme=args)
    golden = {"made_by": "tests/golden/make_kv_cache_golden.py with " + ", ".join(
                  f"{name} {version}" for name, version in VERSIONS.items()),
              "kv_cache_scheme": config.model_dump(mode="json")["kv_cache_scheme"],
              "cases": [make_case(name) for name in MODELS]}
    out.write_text(json.dumps(golden, separators=(",", ":")).replace('{"model', '\n{"model') + "\n")


if __name__ == "__main__":
    main()
