"""Makes a Llama-shaped checkpoint of 2.2 GB with random weights, to measure speed and memory on.

    python tests/bench/make_checkpoint.py FOLDER [--layers 22]

The shape is TinyLlama's: 22 layers, hidden 2048, feed-forward 5632, 32 heads, 4 key-value heads,
vocabulary 32000, bf16. Weights are N(0, 0.02), the same for every run. The tokenizer is the bundled
model's: enough for runs without text.
"""

import argparse
import json
import os
import shutil
import struct

import numpy

HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY = 2048, 5632, 32, 4, 32000
HEAD_SIZE = HIDDEN // HEADS


def tensors(layers):
    """(name, shape) in file order; vectors are norm weights."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (HIDDEN,)
        yield prefix + "self_attn.q_proj.weight", (HEADS * HEAD_SIZE, HIDDEN)
        yield prefix + "self_attn.k_proj.weight", (KV_HEADS * HEAD_SIZE, HIDDEN)
        yield prefix + "self_attn.v_proj.weight", (KV_HEADS * HEAD_SIZE, HIDDEN)
        yield prefix + "self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_SIZE)
        yield prefix + "post_attention_layernorm.weight", (HIDDEN,)
        yield prefix + "mlp.gate_proj.weight", (FEED_FORWARD, HIDDEN)
        yield prefix + "mlp.up_proj.weight", (FEED_FORWARD, HIDDEN)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, FEED_FORWARD)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def bf16(values):
    """float32 to bf16 bits, rounded to nearest even."""
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def weights(generator, shape):
    if len(shape) == 1:
        return bf16(numpy.ones(shape, numpy.float32))
    return bf16(generator.standard_normal(shape, numpy.float32) * numpy.float32(0.02))


def write_safetensors(path, layers):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors(layers):
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    generator = numpy.random.Generator(numpy.random.SFC64(1))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors(layers):
            file.write(weights(generator, shape).tobytes())
    return offset


def write_config(path, layers):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
              "intermediate_size": FEED_FORWARD, "num_hidden_layers": layers,
              "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
              "head_dim": HEAD_SIZE, "vocab_size": VOCABULARY, "max_position_embeddings": 2048,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": False, "torch_dtype": "bfloat16", "attention_bias": False}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)


def make(folder, layers=22):
    """Makes the checkpoint unless it is there; returns the bytes of its tensors."""
    done = os.path.join(folder, f"made-{layers}")
    if os.path.exists(done):
        return int(open(done, encoding="utf-8").read())
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    models = os.path.join(os.path.dirname(__file__), "..", "..", "models", "books-3m")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(models, name), folder)
    write_config(os.path.join(folder, "config.json"), layers)
    size = write_safetensors(os.path.join(folder, "model.safetensors"), layers)
    with open(done, "w", encoding="utf-8") as file:
        file.write(str(size))
    return size


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=22)
    arguments = parser.parse_args()
    print(f"{make(arguments.folder, arguments.layers) / 1e9:.2f} GB in {arguments.folder}")


if __name__ == "__main__":
    main()
