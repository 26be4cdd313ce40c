"""Token windows as quantd cuts them (engine/text/windows.h), written down once for every tool.

Runs inside the environment `others`, for the tokenizers library:

    python windows.py MODEL TEXT COUNT TOKENS OUT.json
"""

import hashlib
import json
import os
import sys


def cut(model, text_file, count, tokens):
    """The whole text encoded in one go, cut without overlap, in order."""
    from tokenizers import Tokenizer  # the driver has no such library

    with open(text_file, "rb") as file:
        text = file.read()
    tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = tokenizer.encode(text.decode("utf-8"), add_special_tokens=True).ids
    windows = [ids[i:i + tokens] for i in range(0, len(ids) - tokens + 1, tokens)][:count]
    if len(windows) < count:
        sys.exit(f"{text_file} fills {len(windows)} windows of {tokens} tokens, {count} wanted")
    return {"digest": hashlib.sha256(text).hexdigest(), "text": text_file, "ids": windows}


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main():
    model, text_file, count, tokens, out = sys.argv[1:]
    windows = cut(model, text_file, int(count), int(tokens))
    with open(out, "w", encoding="utf-8") as file:
        json.dump(windows, file)


if __name__ == "__main__":
    main()
