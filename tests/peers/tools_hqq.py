"""hqq: codes with a real scale and a real zero point per group, both stored in 16 bit."""

import json
import os
import shutil


def run(job):
    import torch
    from hqq.core.quantize import Quantizer
    from safetensors.torch import save_file

    model = job.load()
    bits, group = job.option("bits", 4), job.option("group", 64)
    linears = {name: module for name, module in model.named_modules()
               if isinstance(module, torch.nn.Linear) and name != "lm_head"}
    packed = {}
    with job.clock:
        for name, module in linears.items():
            packed[name] = Quantizer.quantize(
                module.weight.data, nbits=bits, group_size=group, axis=1, channel_wise=True,
                optimize=True, round_zero=job.option("round_zero", bits == 4), device="cpu",
                compute_dtype=torch.float32)
    tensors = {}
    for name, (words, meta) in packed.items():
        rows, columns = meta["shape"]
        codes = Quantizer.unpack[meta["packing"]](words, dtype=torch.uint8)
        tensors[f"{name}.codes"] = codes[:rows * columns // group].reshape(rows, columns)
        for part in ("scale", "zero"):
            tensors[f"{name}.{part}"] = meta[part].half().reshape(rows, columns // group)
    for name, tensor in model.state_dict().items():
        if name.removesuffix(".weight") not in linears:
            tensors[name] = tensor
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()},
              os.path.join(job.out, "model.safetensors"))
    shutil.copy(os.path.join(job.model, "config.json"), job.out)
    with open(os.path.join(job.out, "layout.json"), "w", encoding="utf-8") as file:
        json.dump({"layout": "codes"}, file)
