#!/usr/bin/env python3
"""Writes floating_compressed_tensors.json: what compressed-tensors 0.20.0 makes of a small matrix.

Needs torch, compressed-tensors 0.20.0 and ml_dtypes 0.6.0. For each floating format: the tensors
that its compressor saves (name, dtype, shape, bytes), the weights it decompresses to, and the
arguments as its configuration has them; inputs as it rounds them at run time; codes and scales of
weights in blocks, drawn by a formula that the test has too; and every code of
E2M1 and E4M3 by ml_dtypes, with what floats at and around each midpoint round to. Weights and
scales are f32, so that numbers can be compared bit for bit.
"""

import argparse
import base64
import json
import pathlib
import struct

import compressed_tensors
import ml_dtypes
import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import (
    QuantizationScheme, initialize_module_for_quantization)
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.quant_scheme import preset_name_to_scheme
from compressed_tensors.quantization.utils import (
    calculate_qparams, compute_dynamic_scales_and_zp, generate_gparam)

VERSION = "0.20.0"
ROWS, COLUMNS = 8, 128
BLOCK_ROWS, BLOCK_COLUMNS = 131, 256

# (number format, activations, granularity, preset, layout)
CASES = [
    ("nvfp4", "none", "group", "NVFP4A16", "nvfp4-pack-quantized"),
    ("nvfp4", "static", "group", "NVFP4", "nvfp4-pack-quantized"),
    ("mxfp4", "none", "group", "MXFP4A16", "mxfp4-pack-quantized"),
    ("mxfp4", "dynamic", "group", "MXFP4", "mxfp4-pack-quantized"),
    ("mxfp8", "none", "group", "MXFP8A16", "mxfp8-quantized"),
    ("mxfp8", "dynamic", "group", "MXFP8", "mxfp8-quantized"),
    ("fp8-e4m3", "dynamic", "channel", "FP8_DYNAMIC", "float-quantized"),
    ("fp8-e4m3", "static", "tensor", "FP8", "float-quantized"),
    ("fp8-block", "dynamic", "group", "FP8_BLOCK", "float-quantized"),
]


def make_weights(seed):
    torch.manual_seed(seed)
    weights = torch.randn(ROWS, COLUMNS) * 0.05
    weights[1] = weights[1].abs() + 0.01
    weights[2, 7] = 3.0                                    # an outlier
    weights[3] = ((torch.arange(COLUMNS) % 25) - 12).float() / 2  # on and between E2M1's levels
    weights[4] *= 1e-3                                     # subnormal in the scale's type
    weights[5] = torch.randn(COLUMNS) * torch.exp(torch.randn(COLUMNS))
    return weights.to(torch.bfloat16).to(torch.float32)


def text(tensor):
    raw = tensor.contiguous().view(torch.uint8) if tensor.dtype != torch.uint8 else tensor
    return base64.b64encode(raw.numpy().tobytes()).decode()


def floats(tensor):
    return [float(value) for value in tensor.flatten()]


def qparams(values, args, global_scale):
    if args.group_size:
        grouped = values.unflatten(-1, (-1, args.group_size))
        low, high = grouped.amin(-1), grouped.amax(-1)
    elif args.block_structure:
        height, width = args.block_structure
        low, high = (torch.stack([torch.stack([reduce(part) for part in rows.split(width, 1)])
                                  for rows in values.split(height)])
                     for reduce in (torch.amin, torch.amax))
    elif args.strategy == "channel":
        low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    else:
        low, high = values.amin().reshape(1), values.amax().reshape(1)
    return calculate_qparams(low, high, args, global_scale=global_scale)


def make_inputs(inputs, args):
    """The static scale, and the inputs as they are multiplied."""
    if args is None:
        return None, None
    if args.strategy == "tensor_group":
        scale = generate_gparam(inputs.amin(), inputs.amax())
        own, zero = compute_dynamic_scales_and_zp(inputs, args, None, global_scale=scale)
        return scale, fake_quantize(inputs, own, zero, args, global_scale=scale)
    if args.dynamic:
        if args.strategy == "token":
            low, high = inputs.amin(-1, keepdim=True), inputs.amax(-1, keepdim=True)
            own, zero = calculate_qparams(low, high, args)
        else:
            own, zero = compute_dynamic_scales_and_zp(inputs, args, None)
        return None, fake_quantize(inputs, own, zero, args)
    scale, zero = qparams(inputs, args, None)
    return scale, fake_quantize(inputs, scale, zero, args)


def make_case(weights, inputs, case):
    number, activations, granularity, preset, layout = case
    scheme: QuantizationScheme = preset_name_to_scheme(preset, ["Linear"])
    args = scheme.weights
    state = {"weight": weights.clone()}
    global_scale = None
    if args.strategy == "tensor_group":
        global_scale = generate_gparam(weights.amin(), weights.amax())
        state["weight_global_scale"] = global_scale
    state["weight_scale"], zero = qparams(weights, args, global_scale)
    state["weight_zero_point"] = zero
    input_scale, rounded = make_inputs(inputs, scheme.input_activations)
    if input_scale is not None:
        name = "input_global_scale" if args.strategy == "tensor_group" else "input_scale"
        state[name] = input_scale
    compressor = BaseCompressor.get_value_from_registry(layout)
    saved = compressor.compress(state, scheme)
    back = compressor.decompress(dict(saved), scheme)["weight"]
    dump = scheme.model_dump(mode="json")
    return {
        "number_format": number, "activations": activations, "granularity": granularity,
        "layout": layout,
        "tensors": [{"name": name, "dtype": str(tensor.dtype), "shape": list(tensor.shape),
                     "bytes": text(tensor)} for name, tensor in sorted(saved.items())],
        "decompressed_dtype": str(back.dtype), "decompressed": floats(back.float()),
        "inputs": floats(rounded) if rounded is not None else None,
        "weight_arguments": dump["weights"], "input_arguments": dump["input_activations"],
    }


def make_blocks():
    """Blocks of which the last of each column has few rows; and what it saves of a bf16 linear."""
    scheme = preset_name_to_scheme("FP8_BLOCK", ["Linear"])
    linear = torch.nn.Linear(BLOCK_COLUMNS, BLOCK_ROWS, bias=False, dtype=torch.bfloat16)
    initialize_module_for_quantization(linear, scheme)
    n, k = torch.arange(BLOCK_ROWS)[:, None], torch.arange(BLOCK_COLUMNS)[None]
    weights = ((n * 37 + k * 101 + n * k * 7) % 251 - 125) / 1024 * (1 + n // 128 + 2 * (k // 128))
    scale, zero = qparams(weights, scheme.weights, None)
    compressor = BaseCompressor.get_value_from_registry("float-quantized")
    saved = compressor.compress(
        {"weight": weights, "weight_scale": scale, "weight_zero_point": zero}, scheme)
    back = compressor.decompress(dict(saved), scheme)["weight"]
    return {"rows": BLOCK_ROWS, "columns": BLOCK_COLUMNS, "codes": text(saved["weight"]),
            "scales": floats(saved["weight_scale"]), "last_row": floats(back[-1]),
            "scale_of_linear": {"dtype": str(linear.weight_scale.dtype),
                                "shape": list(linear.weight_scale.shape)}}


def neighbours(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return [struct.unpack("<f", struct.pack("<I", bits + step))[0] for step in (-1, 0, 1)]


def make_type(dtype, codes, largest):
    values = np.arange(codes, dtype=np.uint8).view(dtype).astype(np.float32)
    finite = values[np.isfinite(values)]
    positive = np.unique(finite[finite > 0]).astype(np.float64)
    middles = (positive[1:] + positive[:-1]) / 2
    probes = [float(positive[0]) / 2, largest]
    probes += [float(middle) for middle in middles] + [float(value) for value in positive]
    probes = [near for probe in probes for near in neighbours(probe)]
    probes = [min(probe, largest) for probe in probes]  # numpy does not saturate
    probes += [-probe for probe in probes]
    rounded = np.array(probes, np.float32).astype(dtype)
    return {"values": [float(value) if np.isfinite(value) else None for value in values],
            "probes": probes, "codes": [int(code) for code in rounded.view(np.uint8)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).parent / "floating_compressed_tensors.json")
    out = parser.parse_args().out
    if compressed_tensors.__version__ != VERSION:
        got = compressed_tensors.__version__
        raise SystemExit(f"compressed-tensors: got {got}, wanted {VERSION}")
    weights, inputs = make_weights(21), make_weights(22)
    golden = {"made_by": f"tests/golden/make_floating_golden.py with compressed-tensors {VERSION}, "
                         f"torch {torch.__version__.split('+')[0]}, "
                         f"ml_dtypes {ml_dtypes.__version__}",
              "rows": ROWS, "columns": COLUMNS,
              "weights": floats(weights), "inputs": floats(inputs),
              "types": {"e2m1": make_type(ml_dtypes.float4_e2m1fn, 16, 6.0),
                        "e4m3": make_type(ml_dtypes.float8_e4m3fn, 256, 448.0)},
              "blocks": make_blocks(),
              "cases": [make_case(weights, inputs, case) for case in CASES]}
    written = json.dumps(golden, separators=(",", ":")).replace('{"number', '\n{"number')
    out.write_text(written + "\n")


if __name__ == "__main__":
    main()
