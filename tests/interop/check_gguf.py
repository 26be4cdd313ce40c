"""Reads our GGUF files with the gguf package and compares the model inside with our evaluation.

For each type or mixture: `quantd-worker quantize --method gguf --format gguf` (some by other
methods) writes a file, its report and its logits of a few windows. The gguf package reads keys and
tensors back and computes the weights; transformers runs them in float32, built from the file's keys
alone. Compared: logits, perplexity, KL, top-1 (as run.py), the keys with config.json and
tokenizer.json, and the order of rows of q and k. llama.cpp loads the file too: its log
probabilities over the whole vocabulary and its tokens are compared (llama_cpp.py says how far its
rounding may take it); that the comparison can fail is shown on damaged copies.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys

import gguf
import numpy
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers import Qwen3Config, Qwen3ForCausalLM

import junit
import llama_cpp
import protocol
import tiny_models

TYPES = ["F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1",
         "Q4_0", "Q3_K_M", "Q2_K"]
# Methods whose number format is a type or mixture.
METHODS = [("awq", "Q4_0"), ("gptq", "Q4_K_M"), ("gptq", "Q2_K"), ("awq+gptq", "Q3_K_M")]
# Random models of other families: other names, biases, norms of q and k, an output projection.
FAMILY_TYPES = ["F16", "Q4_K_M"]
LIMITS = {"largest": 2e-4, "perplexity": 1e-5, "kl": 1e-3, "top1": 2e-4}
# What llama.cpp is asked after, of the first window.
POSITIONS = range(4, 129, 4)
TEXTS = ["It was the best of times, it was the worst of times", " two  spaces\n\n\tand a tab",
         "1234567 3.14", "I'm sure they've gone, don't you'll see",
         "na\u00efve \u4f60\u597d \U0001f600"]
# The type of which damaged copies are made.
DAMAGED = "Q4_K_M"

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


def quantize(arguments, model, kind, *flags, method="gguf"):
    """(the file, the first of several; the report; our logits)"""
    end = "-split" if flags else ""
    folder = os.path.join(arguments.out, f"{method}-{os.path.basename(model)}-{kind}{end}")
    subprocess.run(["rm", "-rf", folder], check=True)
    types = ["--option", f"type={kind}"] if method == "gguf" else ["--number-format", kind]
    command = [arguments.worker, "quantize", model, "--out", folder, "--method", method, *types,
               "--format", "gguf", "--samples", "16", "--evaluation",
               f"{arguments.model}/evaluation.txt", "--eval-windows", str(arguments.windows),
               "--seq-len", "512", "--logits-windows", "2", "--compute", "f32", "--json", *flags]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    names = sorted(name for name in os.listdir(folder) if name.endswith(".gguf"))
    assert len(names) == 1 or flags, names
    own = load_file(f"{folder}/quantd/logits.safetensors")
    return os.path.join(folder, names[0]), json.loads(printed), own


def llama_cpp_rows(path, model, window, logits, kind, limit):
    """What llama.cpp makes of the file, as rows of a table. The limit is of the distance."""
    reference = logits.double().log_softmax(-1).numpy()[[count - 1 for count in POSITIONS]]
    answer = llama_cpp.run(path, window[:max(POSITIONS)], POSITIONS, TEXTS)
    tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
    differ = [text for text, tokens in zip(TEXTS, answer.tokens)
              if tokenizer.encode(text).ids != tokens]
    found = llama_cpp.distance(reference, answer.log_probabilities)
    rows = [("llama.cpp: log probabilities", found, limit),
            ("llama.cpp: texts cut otherwise", len(differ), 0)]
    if kind == DAMAGED:
        for name, turned in (("rows of q", "blk.0.attn_q"), ("ffn_down", "blk.1.ffn_down")):
            damaged = with_rows_turned(path, f"{turned}.weight")
            wrong = llama_cpp.run(damaged, window[:max(POSITIONS)], POSITIONS)
            found = llama_cpp.distance(reference, wrong.log_probabilities)
            # At most 1 where the distance is beyond the limit: the damage was seen.
            rows.append((f"llama.cpp: {name} damaged, unseen", limit / found, 1))
    return rows


def with_rows_turned(path, name):
    """A copy of the file whose tensor has the halves of its rows in pairs side by side: what q and
    k of a llama look like where pairing is done twice."""
    damaged = path.replace(".gguf", ".damaged.gguf")
    shutil.copyfile(path, damaged)
    reader = gguf.GGUFReader(damaged, "r+")
    tensor = next(tensor for tensor in reader.tensors if tensor.name == name)
    data = tensor.data.reshape(tensor.data.shape[0], -1)
    data[:] = data.reshape(2, data.shape[0] // 2, -1).swapaxes(0, 1).reshape(data.shape).copy()
    data.flush()
    return damaged


def check_split(arguments, window):
    """Whether llama.cpp computes the same from a file that is split, given the first part."""
    whole, split = (quantize(arguments, arguments.model, "Q4_K_M", *flags)[0]
                    for flags in ((), ("--shard-bytes", str(1 << 20))))
    assert split.endswith("-00001-of-00003.gguf"), split
    answers = [llama_cpp.run(path, window[:max(POSITIONS)], POSITIONS).log_probabilities
               for path in (whole, split)]
    same = bool((answers[0] == answers[1]).all())
    print(f"gguf Q4_K_M in three files: {'ok, the same' if same else 'WRONG, other'} numbers")
    return same


def check(arguments, windows, model, kind, method="gguf"):
    """Whether one type agrees; prints its rows."""
    path, report, own = quantize(arguments, model, kind, method=method)
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
    limit = llama_cpp.limit_of(kind, random_weights=model != arguments.model)
    rows += llama_cpp_rows(path, model, windows[0], logits[0], kind, limit)
    size = os.path.getsize(path) / 1e6
    name = os.path.basename(os.path.normpath(model))
    print(f"{method} {name} {kind}: {size:.2f} MB, perplexity {ours['perplexity_quantized']:.4f}, "
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
    parser.add_argument("--only", help="the type or method of that name, or split")
    arguments = parser.parse_args()
    windows = protocol.cut_windows(arguments.model, f"{arguments.model}/evaluation.txt", 512,
                                   arguments.windows)
    cases = [(arguments.model, kind) for kind in TYPES]
    for family in ("qwen2", "qwen3"):
        model = tiny_models.make(family, arguments.model, arguments.out)
        cases += [(model, kind) for kind in FAMILY_TYPES]
    verdicts = {f"{os.path.basename(os.path.normpath(model))} {kind}":
                check(arguments, windows, model, kind) for model, kind in cases
                if arguments.only in (None, kind)}
    verdicts |= {f"{method} {kind}": check(arguments, windows, arguments.model, kind, method)
                 for method, kind in METHODS if arguments.only in (None, kind, method)}
    if arguments.only in (None, "split"):
        verdicts["split"] = check_split(arguments, windows[0])
    junit.write(f"{arguments.out}/junit.xml", "interop-gguf", verdicts)
    print(f"{sum(verdicts.values())} of {len(verdicts)} GGUF types agree")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
