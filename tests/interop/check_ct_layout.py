#!/usr/bin/env python3
"""Checks a compressed-tensors artifact with the library that loaders use.

    check_ct_layout.py ARTIFACT ORIGINAL [--min-snr-db 15]

For every linear that config.json says is quantized: the library accepts the configuration, its
decompression of our tensors gives exactly (code - zero) * scale computed here from the raw bytes,
and that is close to the original weight. Exits with 1 and a line per problem otherwise. Needs
torch, safetensors and compressed-tensors (0.13 is what we test).
"""

import argparse
import json
import pathlib
import re
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from safetensors import safe_open


def read_tensors(folder):
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                tensors[name] = file.get_tensor(name)
    return tensors


def unpack(words, bits, count, dim):
    """Codes of `bits` bits, low first, along `dim`; written without the library on purpose."""
    per_word = 32 // bits
    words = words.to(torch.int64) & 0xFFFFFFFF
    mask = (1 << bits) - 1
    parts = torch.stack([(words >> (bits * i)) & mask for i in range(per_word)], dim=dim + 1)
    return parts.flatten(dim, dim + 1).narrow(dim, 0, count) - (1 << (bits - 1))


def dequantize(parts, scheme, shape):
    """(code - zero) * scale in f64 from the raw tensors of one linear."""
    rows, columns = shape
    weights = scheme.weights
    if "weight_packed" in parts:
        codes = unpack(parts["weight_packed"], weights.num_bits, columns, 1)
    else:
        codes = parts["weight"].to(torch.int64)
    scales = parts["weight_scale"].to(torch.float64)
    groups = scales.shape[1] if scales.dim() == 2 else 1
    codes = codes.reshape(rows, groups, columns // groups).to(torch.float64)
    if "weight_zero_point" in parts:
        codes = codes - unpack(parts["weight_zero_point"], weights.num_bits, rows, 0).unsqueeze(-1)
    scales = scales.unsqueeze(-1) if scales.dim() == 2 else scales.reshape(1, 1, 1)
    return (codes * scales).reshape(rows, columns)


def scheme_of(config, module):
    if module in config.ignore:
        return None
    for scheme in config.config_groups.values():
        for target in scheme.targets:
            matches = target.startswith("re:") and re.match(target[3:], module)
            if target in ("Linear", module) or matches:
                return scheme
    return None


def check_linear(module, parts, original, scheme, min_snr_db):
    problems = []
    form = scheme.format or "pack-quantized"
    compressor = BaseCompressor.load_from_registry(form)
    if hasattr(compressor, "decompress_weight"):  # below 0.14
        theirs = compressor.decompress_weight(parts, quantization_args=scheme.weights)
    else:
        theirs = compressor.decompress(dict(parts), scheme)["weight"]
    ours = dequantize(parts, scheme, original.shape)
    # The library multiplies in the type of the scale.
    expected = ours.to(parts["weight_scale"].dtype)
    if not torch.equal(theirs.to(expected.dtype), expected):
        worst = (theirs.double() - ours).abs().max().item()
        problems.append(f"{module}: the library decompresses to something else, by up to {worst:g}")
    error = (ours - original.double()).pow(2).sum()
    snr = 10 * torch.log10(original.double().pow(2).sum() / error).item()
    if not snr >= min_snr_db:
        problems.append(f"{module}: {snr:.1f} dB from the original, wanted at least {min_snr_db}")
    return problems


def check(artifact, original, min_snr_db):
    raw = json.loads((pathlib.Path(artifact) / "config.json").read_text())["quantization_config"]
    config = QuantizationConfig.model_validate(raw)
    tensors, originals = read_tensors(artifact), read_tensors(original)
    problems, checked = [], 0
    suffixes = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight")
    for name, weight in originals.items():
        module = name.removesuffix(".weight")
        if module == name or weight.dim() != 2 or f"{module}.weight_scale" not in tensors:
            if name not in tensors:
                problems.append(f"{name}: missing")
            elif not torch.equal(tensors[name], weight):
                problems.append(f"{name}: was to stay as it is, but differs")
            continue
        scheme = scheme_of(config, module)
        if scheme is None:
            problems.append(f"{module}: quantized, but no target of the configuration names it")
            continue
        parts = {s: tensors[f"{module}.{s}"] for s in suffixes if f"{module}.{s}" in tensors}
        if "weight_shape" in parts and parts["weight_shape"].tolist() != list(weight.shape):
            got = parts["weight_shape"].tolist()
            problems.append(f"{module}: weight_shape {got}, wanted {list(weight.shape)}")
        problems += check_linear(module, parts, weight, scheme, min_snr_db)
        checked += 1
    if checked == 0:
        problems.append("no quantized linear was found")
    return problems, checked


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact")
    parser.add_argument("original")
    parser.add_argument("--min-snr-db", type=float, default=15.0)
    args = parser.parse_args()
    problems, checked = check(args.artifact, args.original, args.min_snr_db)
    for problem in problems:
        print(problem)
    print(f"{checked} linears checked, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
