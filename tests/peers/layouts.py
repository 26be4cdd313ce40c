"""Reads the layouts that the peers and quantd write back into plain float32 weights.

Every layout is read by code of our own, so that all results are evaluated by one program and none
depends on what some loader makes of it.
"""

import glob
import json
import os

import gguf_files
import torch
from safetensors import safe_open

WORD = 32


def read_tensors(folder):
    """{name: tensor} of every safetensors file below the folder itself."""
    tensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                tensors[name] = file.get_tensor(name)
    return tensors


def stream(words, bits):
    """Codes of `bits` bits that lie end to end in 32-bit words, low bits first: [R, C] words to
    [R, C * 32 / bits] codes. A code may begin in one word and end in the next."""
    rows, columns = words.shape
    each = (words.to(torch.int64).unsqueeze(-1) >> torch.arange(WORD)) & 1
    each = each.reshape(rows, columns * WORD // bits, bits)
    return (each << torch.arange(bits)).sum(-1)


def words_with_gaps(words, bits):
    """As stream(), but no code crosses a word: 32 mod bits high bits of each word are idle."""
    shifts = torch.arange(WORD // bits) * bits
    codes = (words.to(torch.int64).unsqueeze(-1) >> shifts) & ((1 << bits) - 1)
    return codes.reshape(words.shape[0], -1)


def group_index(columns, groups, given=None):
    if given is not None:
        return given.long()
    return torch.arange(columns) // (columns // groups)


AWQ_NIBBLE = [0, 4, 1, 5, 2, 6, 3, 7]  # where output 8c + j lies in word c


def awq_weight(tensors, name):
    """qweight [K, N/8], qzeros [G, N/8], scales [G, N]."""
    def codes(words):
        nibbles = stream(words, 4).reshape(words.shape[0], -1, 8)
        return nibbles[..., AWQ_NIBBLE].reshape(words.shape[0], -1)
    steps = codes(tensors[f"{name}.qweight"])
    zeros, scales = codes(tensors[f"{name}.qzeros"]), tensors[f"{name}.scales"].float()
    of = group_index(steps.shape[0], scales.shape[0])
    return ((steps - zeros[of]) * scales[of]).t()


# GPTQModel 5 turns zero points into the first version of its format by subtracting one from every
# field. For 3 bits it subtracts these from each three words instead, in the wrong order of words,
# and adds them back when it loads. So only adding them back gives the zero points. 7.x is right.
GPTQ_3BIT = [0x24924924, 0x92492492, 0x49249249]


def gptq_zeros(words, bits, config):
    if config.get("checkpoint_format") == "gptq_v2":
        return stream(words, bits)
    by_gptqmodel = "gptqmodel:5" in json.dumps(config.get("meta", {})).lower()
    if bits == 3 and by_gptqmodel:
        added = torch.tensor(GPTQ_3BIT).repeat(words.shape[1] // 3)
        return stream((words.to(torch.int64) + added) & 0xFFFFFFFF, bits)
    return stream(words, bits) + 1


def gptq_weight(tensors, name, bits, config):
    """qweight [K b / 32, N], qzeros [G, N b / 32], scales [G, N], g_idx [K]."""
    steps = stream(tensors[f"{name}.qweight"].t(), bits)
    zeros = gptq_zeros(tensors[f"{name}.qzeros"], bits, config).t()
    scales = tensors[f"{name}.scales"].float().t()
    of = group_index(steps.shape[1], scales.shape[1], tensors.get(f"{name}.g_idx"))
    return (steps - zeros[:, of]) * scales[:, of]


def compressed_weight(tensors, name, bits):
    """weight_packed [N, words] or weight [N, K] int8, weight_scale [N, G] (or [N, 1], [1])."""
    scales = tensors[f"{name}.weight_scale"].float()
    zeros = tensors.get(f"{name}.weight_zero_point")
    if f"{name}.weight_packed" not in tensors:
        codes = tensors[f"{name}.weight"].float()
        return (codes if zeros is None else codes - zeros.float()) * scales
    rows, columns = tensors[f"{name}.weight_shape"].tolist()
    middle, packed = 1 << (bits - 1), tensors[f"{name}.weight_packed"]
    # Before compressed-tensors 0.17 with gaps; the width of a row tells which.
    gaps = packed.shape[1] == -(-columns // (WORD // bits))
    codes = (words_with_gaps if gaps else stream)(packed, bits)[:, :columns] - middle
    scales = scales.reshape(-1, 1) if scales.dim() < 2 else scales
    of = group_index(columns, scales.shape[1], tensors.get(f"{name}.weight_g_idx"))
    if zeros is not None:
        if zeros.dtype == torch.int32:
            unpack = words_with_gaps if zeros.shape[0] == -(-rows // (WORD // bits)) else stream
            zeros = unpack(zeros.t(), bits)[:, :rows].t() - middle
        codes = codes - zeros[:, of]
    return codes * scales[:, of]


def codes_weight(tensors, name):
    """codes [N, K], scale and zero [N, G] of any type."""
    codes = tensors[f"{name}.codes"].float()
    scale, zero = tensors[f"{name}.scale"].float(), tensors[f"{name}.zero"].float()
    of = group_index(codes.shape[1], scale.shape[1])
    return (codes - zero[:, of]) * scale[:, of]


def named_with(tensors, *endings):
    return sorted({name.removesuffix(ending) for name in tensors for ending in endings
                   if name.endswith(ending)})


def replaced(tensors, weights):
    """`weights` {linear: weight} and, of everything else, what belongs to none of them."""
    result = {f"{name}.weight": weight.float().contiguous() for name, weight in weights.items()}
    for name, tensor in tensors.items():
        linear, _, part = name.rpartition(".")
        if linear not in weights or part == "bias":
            result[name] = tensor.float()
    return result


def compressed_bits(config, name):
    """Bits of a linear: of the group that names it, else of the only group."""
    groups = list(config["config_groups"].values())
    for group in groups:
        if name in group["targets"]:
            return group["weights"]["num_bits"]
    return groups[0]["weights"]["num_bits"]


def load(folder):
    """(weights by their usual names, {linear: how its inputs are quantized}).

    How: {"dynamic": True} per token, or {"scale": s, "zero": z} for all tokens.
    """
    packed = os.path.join(folder, "model.gguf")
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    if os.path.exists(packed):
        return gguf_files.read(packed, config), {}
    tensors = read_tensors(folder)
    if os.path.exists(os.path.join(folder, "layout.json")):
        return replaced(tensors, {name: codes_weight(tensors, name)
                                  for name in named_with(tensors, ".codes")}), {}
    config = config.get("quantization_config")
    if not config:
        return replaced(tensors, {}), {}
    method, inputs = config["quant_method"], {}
    if method == "awq" or "awq" in config.get("packing_format", ""):
        weights = {name: awq_weight(tensors, name) for name in named_with(tensors, ".qweight")}
    elif method in ("gptq", "auto-round"):
        weights = {name: gptq_weight(tensors, name, config["bits"], config)
                   for name in named_with(tensors, ".qweight")}
    elif method == "compressed-tensors":
        names = named_with(tensors, ".weight_scale")
        weights = {name: compressed_weight(tensors, name, compressed_bits(config, name))
                   for name in names}
        inputs = compressed_inputs(tensors, config, names)
    else:
        raise ValueError(f"{folder}: no reader of {method}")
    return replaced(tensors, weights), inputs


def compressed_inputs(tensors, config, names):
    inputs = {}
    for name in names:
        groups = list(config["config_groups"].values())
        group = next((g for g in groups if name in g["targets"]), groups[0])
        activations = group.get("input_activations")
        if not activations:
            continue
        if activations.get("dynamic"):
            inputs[name] = {"dynamic": True}
            continue
        zero = tensors.get(f"{name}.input_zero_point")
        inputs[name] = {"scale": tensors[f"{name}.input_scale"].float().item(),
                        "zero": 0 if zero is None else zero.item()}
    return inputs
