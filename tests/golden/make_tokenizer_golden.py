"""Writes tokenizer.json beside this file: texts and the ids that Hugging Face tokenizers gives.

    python3 tests/golden/make_tokenizer_golden.py SHARED_DATA

Needs exactly the version below. The test of engine/text compares what the program gives.
"""

import hashlib
import json
import os
import sys

import tokenizers

VERSION = "0.22.2"

TEXTS = [
    "",
    " ",
    "Hello world",
    "  two  spaces\tand\ttabs\n\n\nthree lines",
    "It was the best of times, it was the worst of times;",
    "don't can't I'll 'RE you",
    "3.14159 1,000,000 0xFF 1e-5",
    "Bonjour, ça va ? Übergrößenträger",
    "我想在苹果公司工作。日本語と한국어",
    "Быстрая коричневая лиса",
    "שלום עולם مرحبا بالعالم",
    "e\u0301 combining, \ufb01 ligature, \u212b compatibility",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f999.cpp",
    "<s></s><unk><|endoftext|><|padding|>",
    "def f(x):\n    return x ** 2  # square\n",
    "\u0001 control \u007f",
    "\ufeffwith a mark \ufffd",
    "a" * 300,
]

FILES = {
    "books-3m": "models/books-3m/tokenizer.json",
    "gpt-neox-20b": "tokenizers/gpt-neox-20b/tokenizer.json",
    "falcon": "tokenizers/falcon/tokenizer.json",
    "stories260K": "models/stories260K/tokenizer.json",
}


def golden(path):
    """What one tokenizer makes of every text."""
    tokenizer = tokenizers.Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    entries = []
    for text in TEXTS:
        with_special = tokenizer.encode(text, add_special_tokens=True).ids
        without = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(without, skip_special_tokens=False)
        entries.append({"special": with_special, "plain": without, "decoded": decoded})
    return {"vocabulary": tokenizer.get_vocab_size(), "entries": entries}


def long_text(path, text_file):
    """The number and the digest of the ids of a whole file, for the one text that ships."""
    tokenizer = tokenizers.Tokenizer.from_file(path)
    with open(text_file, encoding="utf-8", newline="") as file:
        ids = tokenizer.encode(file.read(), add_special_tokens=True).ids
    digest = hashlib.sha256(b"".join(i.to_bytes(4, "little") for i in ids)).hexdigest()
    return {"count": len(ids), "sha256": digest}


def main():
    if tokenizers.__version__ != VERSION:
        sys.exit(f"tokenizers: got {tokenizers.__version__}, wanted {VERSION}")
    here = os.path.dirname(os.path.abspath(__file__))
    shared = sys.argv[1]
    result = {"tokenizers": VERSION, "texts": TEXTS}
    result["models"] = {name: golden(f"{shared}/{file}") for name, file in FILES.items()}
    shipped = f"{here}/../../models/books-3m"
    result["calibration"] = long_text(f"{shipped}/tokenizer.json", f"{shipped}/calibration.txt")
    with open(f"{here}/tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(result, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
