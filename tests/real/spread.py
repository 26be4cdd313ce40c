"""A Llama-shaped checkpoint with the grid of its weights gone and its function kept.

    spread.py FROM TO

Weights that were quantized lie on a grid, on which a quantizer of the same width looks lossless.
Four places of each block take a factor per channel, exp of a normal variable, and its inverse:

    what the first norm gives     its gain      / f    columns of q, k, v      * f
    what the second norm gives    its gain      / f    columns of gate, up     * f
    values of a key head          columns of o  / f    rows of v               * f
    what up gives                 columns of down / f  rows of up              * f

Heads that share a key head share its factors. All is computed in float32 and rounded to bfloat16
once.
"""

import json
import os
import shutil
import sys

import ml_dtypes
import numpy
from safetensors import safe_open
from safetensors.numpy import save_file

SEED = 7
SIGMA = 0.15


def factors(generator, count):
    return numpy.exp(generator.normal(0.0, SIGMA, count)).astype(numpy.float32)


def spread_block(tensors, prefix, config, generator):
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads

    def weight(name):
        return tensors[f"{prefix}{name}.weight"]

    for norm, linears in (("input_layernorm", "qkv"), ("post_attention_layernorm", "")):
        factor = factors(generator, config["hidden_size"])
        weight(norm)[:] /= factor
        for linear in [f"self_attn.{name}_proj" for name in linears] or \
                ["mlp.gate_proj", "mlp.up_proj"]:
            weight(linear)[:] *= factor
    factor = factors(generator, key_heads * width)
    weight("self_attn.v_proj")[:] *= factor[:, None]
    shared = numpy.repeat(factor.reshape(key_heads, width), heads // key_heads, axis=0)
    weight("self_attn.o_proj")[:] /= shared.reshape(-1)
    factor = factors(generator, config["intermediate_size"])
    weight("mlp.up_proj")[:] *= factor[:, None]
    weight("mlp.down_proj")[:] /= factor


def main():
    source, target = sys.argv[1:]
    os.makedirs(target, exist_ok=True)
    with open(os.path.join(source, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    with safe_open(os.path.join(source, "model.safetensors"), "numpy") as file:
        tensors = {name: file.get_tensor(name).astype(numpy.float32) for name in file.keys()}
    generator = numpy.random.default_rng(SEED)
    for block in range(config["num_hidden_layers"]):
        spread_block(tensors, f"model.layers.{block}.", config, generator)
    rounded = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors.items()}
    save_file(rounded, os.path.join(target, "model.safetensors"), metadata={"format": "pt"})
    config["torch_dtype"] = "bfloat16"
    with open(os.path.join(target, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(os.path.join(source, name), target)


if __name__ == "__main__":
    main()
