"""Artifacts in the libraries that users serve with, on CPU in float32: one function per way."""

import json
import pathlib

import torch
from compressed_tensors.quantization.lifecycle import forward
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig, GPTQConfig

LIBRARY_SCALES = forward.compute_dynamic_scales_and_zp


def scales_by_127(*arguments, **keywords):
    scale, zero_point = LIBRARY_SCALES(*arguments, **keywords)
    return scale * (127.5 / 127), zero_point


def transformers_default(folder):
    """What from_pretrained makes of it, without a word about quantization."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def transformers_cpu(folder):
    """The same, told to stay on the CPU: GPTQ wants to hear it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu")


def gptq_torch(folder):
    """The same with GPTQModel's plain kernel, which takes any group size. The default one on CPU,
    the fused one, leaves zero points of 4 bits out in 5.7.0."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map="cpu",
        quantization_config=GPTQConfig(bits=4, backend="torch"))


def divisor_127(folder):
    """compressed-tensors with quantd's scales of dynamic activations."""
    forward.compute_dynamic_scales_and_zp = scales_by_127
    return transformers_default(folder)


def decompressed(folder):
    """The way around the library's fault with packed zero points: weights rounded to bfloat16."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32,
        quantization_config=CompressedTensorsConfig(dequantize=True))


def gptqmodel(folder):
    """GPTQModel's own loader and its plain CPU kernels, whose weights are float16."""
    from gptqmodel import BACKEND, GPTQModel

    method = json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"][
        "quant_method"]
    backend = BACKEND.AWQ_TORCH if method == "awq" else BACKEND.GPTQ_TORCH
    return GPTQModel.load(folder, backend=backend, device="cpu", dtype=torch.float32).model


def tensors_of(folder):
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def plain_model(folder):
    """The model of the folder's configuration, without quantization and with any weights."""
    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def fill(model, state, filled=()):
    """The model with these weights, which are all but a tied head's and those of the modules that
    are filled already; GPTQModel's loader leaves transformers' models untied."""
    state = {name: tensor.float() for name, tensor in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    lacking = [name for name in missing
               if "lm_head" not in name and not name.startswith(tuple(filled))]
    assert not unexpected and not lacking, (lacking, unexpected)
    model.tie_weights()
    return model


def awq_unpacked(folder):
    """transformers with the weights that GPTQModel's AWQ unpacking gives, multiplied in float32."""
    from gptqmodel.quantization.awq.utils.packing_utils import reverse_awq_order, unpack_awq

    tensors = tensors_of(folder)
    state = {name: tensor for name, tensor in tensors.items()
             if not name.endswith((".qweight", ".qzeros", ".scales"))}
    for name in [name for name in tensors if name.endswith(".qweight")]:
        module = name.removesuffix(".qweight")
        scales = tensors[f"{module}.scales"].float()
        codes, zeros = unpack_awq(tensors[name], tensors[f"{module}.qzeros"], 4)
        codes, zeros = reverse_awq_order(codes, zeros, 4)
        codes, zeros = codes & 15, zeros & 15
        repeats = codes.shape[0] // scales.shape[0]
        weight = (codes - zeros.repeat_interleave(repeats, 0)) * scales.repeat_interleave(repeats,
                                                                                         0)
        state[f"{module}.weight"] = weight.t().contiguous()
    return fill(plain_model(folder), state)


def hqq_library(folder):
    """The hqq library alone, a linear at a time: transformers 5 has no loader for it."""
    from hqq.core.quantize import HQQLinear

    model, tensors = plain_model(folder), tensors_of(folder)
    names = {name.removesuffix(".W_q") for name in tensors if name.endswith(".W_q")}
    for name in names:
        linear = HQQLinear(None, None, compute_dtype=torch.float32, device="cpu", initialize=False)
        linear.load_state_dict({key.removeprefix(f"{name}."): tensor for key, tensor
                                in tensors.items() if key.startswith(f"{name}.")})
        linear.compute_dtype = linear.meta["compute_dtype"] = torch.float32
        for key in ("scale", "zero"):
            linear.meta[key] = linear.meta[key].float()
        parent, _, last = name.rpartition(".")
        if linear.bias is not None:
            linear.bias = linear.bias.float()
        setattr(model.get_submodule(parent), last, linear)
    rest = {name: tensor for name, tensor in tensors.items()
            if not any(name.startswith(f"{module}.") for module in names)}
    return fill(model, rest, [f"{module}." for module in names])


def load(folder, how):
    forward.compute_dynamic_scales_and_zp = LIBRARY_SCALES
    return how(folder).eval()
