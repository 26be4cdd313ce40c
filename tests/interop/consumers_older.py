"""Artifacts in the libraries of a year ago (requirements-older.txt), on CPU in float32: one
function per way, by the names of consumers.py."""

import json
import pathlib

import torch
from compressed_tensors.quantization import disable_quantization
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from consumers import (  # noqa: F401  # the same in both generations
    awq_unpacked, divisor_127, gptq_torch, load, transformers_cpu, transformers_default)


def decompressed(folder):
    """The way around two faults of compressed-tensors 0.13.0 with asymmetric packed weights."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32,
        quantization_config=CompressedTensorsConfig(run_compressed=False))
    model.apply(disable_quantization)
    return model


def gptqmodel(folder):
    """GPTQModel's own loader and CPU kernels. Its AWQ weights are products in float16; everything
    else is widened to float32."""
    from gptqmodel import BACKEND, GPTQModel

    method = json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"][
        "quant_method"]
    backend = BACKEND.TORCH_AWQ if method == "awq" else BACKEND.TORCH
    model = GPTQModel.load(folder, backend=backend, device="cpu", dtype=torch.float16).model
    for module in model.modules():
        if method == "awq" and hasattr(module, "qweight"):
            if module.bias is not None:
                module.bias = module.bias.float()
            continue
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_floating_point():
                    tensors[name] = (torch.nn.Parameter(tensor.float(), requires_grad=False)
                                     if tensors is module._parameters else tensor.float())
    return model
