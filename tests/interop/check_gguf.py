"""Reads our GGUF files with the gguf package and compares the model inside with our evaluation.

For each type or mixture: `quantd-worker quantize --method gguf --format gguf` writes a file, its
report and its logits of a few windows. The gguf package reads keys and tensors back and computes
the weights; transformers runs them in float32, built from the file's keys alone. Compared: logits,
perplexity, KL, top-1 (as run.py), the keys with config.json and tokenizer.json, and the order of
rows of q and k. With --llama-cpp, llama-perplexity loads the file too and its perplexity is
compared; it rounds activations to 8 bits inside its kernels, so that tolerance is wider.
"""

import argparse
import json
import os
import re
import subprocess
import sys

import gguf
import numpy
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers import Qwen3Config, Qwen3ForCausalLM

import protocol
import tiny_models

TYPES = ["F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1",
         "Q4_0", "Q3_K_M", "Q2_K"]
# Random models of other families: other names, biases, norms of q and k, an output projection.
FAMILY_TYPES = ["F16", "Q4_K_M"]
LIMITS = {"largest": 2e-4, "perplexity": 1e-5, "kl": 1e-3, "top1": 2e-4}
LLAMA_CPP_PERPLEXITY = 2e-3

FAMILIES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM),
            "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
PAIRED = {"llama"}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
         "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def module_of(name):
    """The checkpoint's name of a tensor of the file."""
    part, end = name.rsplit(".", 1)
    if part in WHOLE:
        return f"{WHOLE[part]}.{end}"
    block, part = re.fullmatch(r"blk\.(\d+)\.(\w+)", part).groups()
    return f"model.layers.{block}.{PARTS[part]}.{end}"


def halves_together(weight, heads):
    """Rows of each head from pairs side by side to (first halves, second halves)."""
    rows = weight.shape[0] // heads
    return weight.reshape(heads, rows // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def model_of(reader):
    """The model in the file, in float32."""
    keys = {name: field.contents() for name, field in reader.fields.items()}
    kind = keys["general.architecture"]

    def key(name):
        return keys[f"{kind}.{name}"]

    tensors = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        values = torch.from_numpy(values).reshape([int(n) for n in tensor.shape][::-1])
        part = tensor.name.split(".")[-2]
        if kind in PAIRED and part in ("attn_q", "attn_k"):
            heads = key("attention.head_count" + ("_kv" if part == "attn_k" else ""))
            values = halves_together(values, heads)
        tensors[module_of(tensor.name)] = values
    config_class, model_class = FAMILIES[kind]
    config = config_class(
        vocab_size=len(keys["tokenizer.ggml.tokens"]), hidden_size=key("embedding_length"),
        intermediate_size=key("feed_forward_length"), num_hidden_layers=key("block_count"),
        num_attention_heads=key("attention.head_count"),
        num_key_value_heads=key("attention.head_count_kv"), head_dim=key("attention.key_length"),
        max_position_embeddings=key("context_length"), rope_theta=key("rope.freq_base"),
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
        tie_word_embeddings="lm_head.weight" not in tensors, use_sliding_window=False)
    model = model_class(config).eval()
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = [name for name in missing
               if not (name == "lm_head.weight" and config.tie_word_embeddings)]
    if missing or unexpected:
        raise ValueError(f"missing {missing}, unexpected {unexpected}")
    return model


def check_tokens(reader, model_folder):
    """What of the file's tokenizer differs from tokenizer.json."""
    with open(f"{model_folder}/tokenizer.json", encoding="utf-8") as file:
        tokenizer = json.load(file)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    wrong = [token for token, number in tokenizer["model"]["vocab"].items()
             if tokens[number] != token]
    if "tokenizer.ggml.merges" in reader.fields:
        merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
        if reader.fields["tokenizer.ggml.merges"].contents() != merges:
            wrong.append("merges")
    return wrong


def quantize(arguments, model, kind):
    """(the file, the report, our logits)"""
    folder = os.path.join(arguments.out, f"gguf-{os.path.basename(model)}-{kind}")
    subprocess.run(["rm", "-rf", folder], check=True)
    command = [arguments.worker, "quantize", model, "--out", folder, "--method", "gguf",
               "--option", f"type={kind}", "--format", "gguf", "--samples", "16", "--evaluation",
               f"{arguments.model}/evaluation.txt", "--eval-windows", str(arguments.windows),
               "--seq-len", "512", "--logits-windows", "2", "--compute", "f32", "--json"]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    name = [name for name in os.listdir(folder) if name.endswith(".gguf")]
    assert len(name) == 1, name
    own = load_file(f"{folder}/quantd/logits.safetensors")
    return os.path.join(folder, name[0]), json.loads(printed), own


def llama_cpp_perplexity(arguments, path):
    """(windows, perplexity over the second half of each): the last line of its output may get lost
    when that is no terminal, so the last of its running estimates is read."""
    command = [os.path.join(arguments.llama_cpp, "llama-perplexity"), "-m", path, "-f",
               f"{arguments.model}/evaluation.txt", "-c", "512", "-b", "512", "--chunks",
               str(arguments.windows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    found = re.findall(r"\[(\d+)\]([0-9.]+),", done.stdout)
    if not found:
        raise ValueError(done.stdout[-2000:])
    return int(found[-1][0]), float(found[-1][1])


def second_half_perplexity(windows, logits):
    """As the tool counts: from the 257th position of a window on."""
    rows = logits[:, 256:-1].double().log_softmax(-1)
    return (-rows.gather(-1, windows[:, 257:].unsqueeze(-1))).mean().exp().item()


def check(arguments, windows, model, kind):
    """Whether one type agrees; prints its rows."""
    path, report, own = quantize(arguments, model, kind)
    reader = gguf.GGUFReader(path)
    logits = protocol.logits_of(model_of(reader), windows)
    found = protocol.scores(windows, logits, logits)
    ours = report["evaluation"]
    largest = (own["quantized"] - logits[:len(own["quantized"])]).abs().max().item()
    ratio = abs(found["perplexity_quantized"] / ours["perplexity_quantized"] - 1)
    wrong = check_tokens(reader, model)
    rows = [("largest difference of logits", largest, LIMITS["largest"]),
            ("perplexity, relative", ratio, LIMITS["perplexity"]),
            ("tokens that differ", len(wrong), 0)]
    if arguments.llama_cpp:
        count, theirs = llama_cpp_perplexity(arguments, path)
        here = second_half_perplexity(windows[:count], logits[:count])
        rows.append(("llama.cpp's perplexity, relative", abs(theirs / here - 1),
                     LLAMA_CPP_PERPLEXITY))
    size = os.path.getsize(path) / 1e6
    name = os.path.basename(os.path.normpath(model))
    print(f"gguf {name} {kind}: {size:.2f} MB, perplexity {ours['perplexity_quantized']:.4f}, "
          f"KL {ours['kl_mean']:.6f}")
    passed = True
    for what, distance, limit in rows:
        verdict = "ok" if distance <= limit else "WRONG"
        passed = passed and distance <= limit
        print(f"  {verdict:5} {what:34} {distance:.2e}, at most {limit:.0e}", flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--llama-cpp", help="folder of llama.cpp's programs")
    parser.add_argument("--only", help="the type of that name")
    arguments = parser.parse_args()
    windows = protocol.cut_windows(arguments.model, f"{arguments.model}/evaluation.txt", 512,
                                   arguments.windows)
    cases = [(arguments.model, kind) for kind in TYPES]
    for family in ("qwen2", "qwen3"):
        model = tiny_models.make(family, arguments.model, arguments.out)
        cases += [(model, kind) for kind in FAMILY_TYPES]
    verdicts = [check(arguments, windows, model, kind) for model, kind in cases
                if arguments.only in (None, kind)]
    print(f"{sum(verdicts)} of {len(verdicts)} GGUF types agree")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
