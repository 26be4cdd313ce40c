"""GGUF files of Llama-shaped models: written for llama.cpp, read back as float32."""

import json
import os

import gguf
import numpy
import torch

PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
WHOLE = {"token_embd.weight": "model.embed_tokens.weight",
         "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}


def names(layers):
    """{name in GGUF: name in the checkpoint}."""
    found = dict(WHOLE)
    for layer in range(layers):
        for short, long in PARTS.items():
            found[f"blk.{layer}.{short}.weight"] = f"model.layers.{layer}.{long}.weight"
    return found


def heads_of(name, config):
    """Heads of a weight whose rows GGUF orders for its own rotary embedding, or None."""
    if name.endswith("q_proj.weight"):
        return config["num_attention_heads"]
    if name.endswith("k_proj.weight"):
        return config["num_key_value_heads"]
    return None


def pairs_together(weight, heads):
    """Rows of each head from (first halves, second halves) to pairs side by side."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(
        rows, columns)


def halves_together(weight, heads):
    """The inverse of pairs_together."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(
        rows, columns)


def describe(writer, config):
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    writer.add_rope_dimension_count(head_size)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def add_tokenizer(writer, folder, vocabulary):
    """A byte-level BPE tokenizer. Only llama-imatrix ever uses it."""
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        model = json.load(file)["model"]
    by_id = {number: token for token, number in model["vocab"].items()}
    tokens = [by_id.get(i, f"<unused {i}>") for i in range(vocabulary)]
    kinds = [gguf.TokenType.NORMAL if i in by_id else gguf.TokenType.UNUSED
             for i in range(vocabulary)]
    kinds[0] = gguf.TokenType.CONTROL
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def write(folder, tensors, path):
    """A checkpoint as F16 GGUF: matrices in F16, norms in F32."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    writer = gguf.GGUFWriter(path, "llama")
    describe(writer, config)
    add_tokenizer(writer, folder, config["vocab_size"])
    short = {long: short for short, long in names(config["num_hidden_layers"]).items()}
    for name, tensor in tensors.items():
        heads = heads_of(name, config)
        values = pairs_together(tensor.float(), heads) if heads else tensor.float()
        values = values.contiguous().numpy()
        writer.add_tensor(short[name], values.astype(numpy.float16) if values.ndim == 2
                          else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path, config):
    """{name in the checkpoint: float32 weight}."""
    tensors = {}
    long = names(config["num_hidden_layers"])
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        shape = [int(size) for size in tensor.shape][::-1]
        weight = torch.from_numpy(numpy.array(values, numpy.float32)).reshape(shape)
        heads = heads_of(long[tensor.name], config)
        tensors[long[tensor.name]] = (halves_together(weight, heads) if heads
                                      else weight).contiguous()
    return tensors
