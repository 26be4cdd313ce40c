"""Tokenizers in GGUF files: llama.cpp must cut texts as the tokenizers library does.

Random models of one small block with tokenizers of several kinds: BPE with byte fallback as Llama 2
and Gemma have it and byte-level BPE with the cuts of Llama 3, Qwen2, StarCoder2 and GPT-2, trained
here on the bundled text; of Falcon and GPT-NeoX the real ones where the shared data has them. Kinds
that GGUF has no keys for must be refused by name.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers

import junit
import llama_cpp

TEXTS = ["It was the best of times, it was the worst of times", " two  spaces\n\n\tand a tab ",
         "1234567 3.14 in 2024", "I'm sure they've gone; DON'T you'LL see?", "x=[1,2];//...!!\r\n",
         "na\u00efve \u4f60\u597d \U0001f600 \u0416\u0443\u043a", "", "a", " ", "\n"]
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST


def byte_level(cut, text, special=("<|end|>",)):
    """Byte-level BPE behind the steps of `cut`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train([text], trainers.BpeTrainer(
        vocab_size=1000, special_tokens=list(special), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def split_by(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_fallback(text, prepends):
    """BPE over text whose spaces are written as U+2581, with tokens for all bytes, as Llama 2
    (a space goes before the text) and Gemma (none) have it. Words are cut for training alone."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train([text], trainers.BpeTrainer(vocab_size=1200, special_tokens=special,
                                                show_progress=False))
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] < 3]
    data["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(data))
    steps = [normalizers.Prepend("\u2581")] if prepends else []
    tokenizer.normalizer = normalizers.Sequence(steps + [normalizers.Replace(" ", "\u2581")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return tokenizer


def shared(name):
    """A real tokenizer of the shared data; nothing where that is not there."""
    folder = os.environ.get("QUANTD_SHARED_DATA", "../shared/data")
    path = os.path.join(folder, "tokenizers", name, "tokenizer.json")
    return Tokenizer.from_file(path) if os.path.exists(path) else None


KINDS = {
    "llama-2": lambda text: byte_fallback(text, prepends=True),
    "gemma": lambda text: byte_fallback(text, prepends=False),
    "llama-3": lambda text: byte_level(split_by(LLAMA3), text),
    "qwen2": lambda text: byte_level(split_by(QWEN2), text),
    "gpt2": lambda text: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), text),
    "starcoder2": lambda text: byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)]), text),
    "falcon": lambda text: shared("falcon"),
    "gpt-neox-20b": lambda text: shared("gpt-neox-20b"),
}
REFUSED = {"WordPiece": lambda: Tokenizer(models.WordPiece({"a": 0, "[UNK]": 1})),
           "Unigram": lambda: Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)])),
           "WordLevel": lambda: Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))}


def write(arguments, name, tokenizer):
    """A model folder with the tokenizer, and the command that makes a GGUF file of it."""
    model, out = f"{arguments.out}/{name}-model", f"{arguments.out}/{name}"
    for folder in (model, out):
        shutil.rmtree(folder, ignore_errors=True)
    size = max(tokenizer.get_vocab_size(), 300)
    config = transformers.LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(model)
    tokenizer.save(f"{model}/tokenizer.json")
    return f"{out}/{name}-model-F16.gguf", [
        arguments.worker, "quantize", model, "--out", out, "--method", "gguf", "--option",
        "type=F16", "--scale-rule", "absmax", "--format", "gguf", "--no-evaluation"]


def read_back(arguments, name, path, tokenizer):
    """Texts that the tokenizer made from the file's keys cuts in another way."""
    out = f"{arguments.out}/{name}-read-back"
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [arguments.worker, "quantize", path, "--out", out, "--skip", "*", "--format",
         "dequantized", "--no-evaluation"], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        return [("read back", done.stderr[-600:], "")]
    made = Tokenizer.from_file(f"{out}/tokenizer.json")
    return [(text, tokenizer.encode(text).tokens, made.encode(text).tokens)
            for text in TEXTS if tokenizer.encode(text).ids != made.encode(text).ids]


def check(arguments, name):
    tokenizer = KINDS[name](f"{arguments.model}/calibration.txt")
    if tokenizer is None:
        print(f"absent gguf tokenizer {name}: the shared data is not there", flush=True)
        return os.environ.get("CI") != "true"
    path, command = write(arguments, name, tokenizer)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"WRONG gguf tokenizer {name}: {done.stderr[-600:]}", flush=True)
        return False
    answer = llama_cpp.run(path, [1, 2], [1], TEXTS)
    differ = [(text, tokenizer.encode(text).tokens,
               [tokenizer.id_to_token(token) for token in tokens])
              for text, tokens in zip(TEXTS, answer.tokens) if tokenizer.encode(text).ids != tokens]
    differ += read_back(arguments, name, path, tokenizer)
    warned = [line for line in done.stderr.splitlines() if "cuts text" in line]
    verdict = "WRONG" if differ or warned else "ok"
    print(f"{verdict:5} gguf tokenizer {name}: {len(TEXTS) - len(differ)} of {len(TEXTS)} texts",
          *differ, *warned, sep="\n      " if differ or warned else "", flush=True)
    return verdict == "ok"


def check_refused(arguments, name):
    _, command = write(arguments, name, REFUSED[name]())
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    refused = done.returncode != 0 and "GGUF cannot hold the tokenizer" in said and name in said
    print(f"{'ok' if refused else 'WRONG':5} gguf tokenizer {name}: refused", flush=True)
    return refused


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    verdicts = {name: check(arguments, name) for name in KINDS}
    verdicts |= {f"{name} refused": check_refused(arguments, name) for name in REFUSED}
    junit.write(f"{arguments.out}/junit.xml", "interop-gguf-tokenizers", verdicts)
    failed = list(verdicts.values()).count(False)
    print(f"{len(verdicts) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
