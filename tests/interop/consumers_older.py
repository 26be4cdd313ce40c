"""Artifacts in the libraries of a year ago (requirements-older.txt), on CPU in float32: one
function per way, by the names of consumers.py."""

import json
import pathlib

import torch
from compressed_tensors.quantization import disable_quantization
from compressed_tensors.quantization.lifecycle import forward
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, GPTQConfig
from transformers.utils.quantization_config import CompressedTensorsConfig

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
    """The same with GPTQModel's plain kernel: for asymmetric 4 bits its default on CPU, the fused
    one, leaves zero points out (5.7.0)."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map="cpu",
        quantization_config=GPTQConfig(bits=4, backend="torch"))


def divisor_127(folder):
    """compressed-tensors with quantd's scales of dynamic activations."""
    forward.compute_dynamic_scales_and_zp = scales_by_127
    return transformers_default(folder)


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


def awq_unpacked(folder):
    """transformers with the weights that GPTQModel's AWQ unpacking gives, multiplied in float32."""
    from gptqmodel.quantization.awq.utils.packing_utils import reverse_awq_order, unpack_awq

    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(load_file(path))
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
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.tie_weights()  # GPTQModel's loader leaves transformers without
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("lm_head" in name for name in missing), (missing, unexpected)
    return model


def load(folder, how):
    forward.compute_dynamic_scales_and_zp = LIBRARY_SCALES
    return how(folder).eval()
