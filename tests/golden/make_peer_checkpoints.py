#!/usr/bin/env python3
"""What the peers' own checkpoints of the bundled model look like: names, types, shapes, keys.

    make_peer_checkpoints.py gptqmodel|autoawq|hqq

Quantizes models/books-3m with the library (gptqmodel 5.7.0, autoawq 0.2.9, hqq 0.2.8.post1 through
transformers), saves it, and writes peer_checkpoint_LIBRARY.json beside this file: the tensors of
block 0 and those outside the blocks, and quantization_config. No weight is kept.
"""

import importlib.metadata
import json
import pathlib
import sys
import tempfile

import torch
from safetensors import safe_open
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent.parent / "models" / "books-3m"
VERSIONS = {"gptqmodel": "5.7.0", "autoawq": "0.2.9", "hqq": "0.2.8.post1"}
SAMPLES, TOKENS = 8, 256


def samples():
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    ids = tokenizer.encode((MODEL / "calibration.txt").read_text(encoding="utf-8")).ids
    return [ids[i * TOKENS:(i + 1) * TOKENS] for i in range(SAMPLES)]


def save_gptqmodel(out):
    from gptqmodel import GPTQModel, QuantizeConfig

    config = QuantizeConfig(bits=4, group_size=128, sym=True, desc_act=False, device="cpu",
                            offload_to_disk=False)
    model = GPTQModel.load(str(MODEL), config, dtype=torch.bfloat16)
    model.quantize([{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in samples()],
                   batch_size=1)
    model.save(out)


def save_autoawq(out):
    from awq import AutoAWQForCausalLM
    from transformers import AutoTokenizer

    model = AutoAWQForCausalLM.from_pretrained(str(MODEL), torch_dtype=torch.bfloat16,
                                               device_map="cpu")
    tokenizer = AutoTokenizer.from_pretrained(str(MODEL))
    text = (MODEL / "calibration.txt").read_text(encoding="utf-8")
    # Few: it is slow. Lines of more than max_calib_seq_len tokens are left out.
    lines = [text[i * 200:(i + 1) * 200] for i in range(SAMPLES)]
    model.quantize(tokenizer, quant_config={"w_bit": 4, "q_group_size": 128, "zero_point": True,
                                            "version": "GEMM"},
                   calib_data=lines, max_calib_samples=SAMPLES, max_calib_seq_len=100)
    model.save_quantized(out)


def save_hqq(out):
    from transformers import AutoModelForCausalLM, HqqConfig

    model = AutoModelForCausalLM.from_pretrained(
        str(MODEL), dtype=torch.bfloat16,
        quantization_config=HqqConfig(nbits=4, group_size=64, axis=1))
    model.save_pretrained(out)


def listing(folder):
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                if ".layers." in name and ".layers.0." not in name:
                    continue
                piece = file.get_slice(name)
                tensors[name] = [piece.get_dtype(), list(piece.get_shape())]
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    return {"config": config["quantization_config"], "tensors": dict(sorted(tensors.items()))}


def main():
    library = sys.argv[1]
    version = importlib.metadata.version(library)
    if version != VERSIONS[library]:
        sys.exit(f"{library} {version} is installed, wanted {VERSIONS[library]}")
    with tempfile.TemporaryDirectory() as folder:
        globals()[f"save_{library}"](folder)
        found = listing(folder)
    path = HERE / f"peer_checkpoint_{library}.json"
    path.write_text(json.dumps({"library": f"{library} {version}", **found}, indent=1) + "\n")
    print(f"{path.name}: {len(found['tensors'])} tensors")


if __name__ == "__main__":
    main()
