#!/usr/bin/env python3
"""Writes rtn_compressed_tensors.json: what compressed-tensors 0.13.0 makes of a small matrix.

Needs torch and compressed-tensors 0.13.0. All arithmetic is f32, scales stay f32, so that the
numbers can be compared bit for bit. Groups of zeros are left out: compressed-tensors gives them the
smallest scale there is, quantd 1.
"""

import argparse
import json
import pathlib

import compressed_tensors
import torch
from compressed_tensors.compressors.quantized_compressors.pack_quantized import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.quantization.utils import calculate_qparams

VERSION = "0.13.0"
ROWS, COLUMNS, GROUP = 10, 96, 32  # ragged on purpose: 10 rows are not a whole word of zero points


def make_weights():
    torch.manual_seed(20)
    weights = torch.randn(ROWS, COLUMNS) * 0.05
    weights[1] = weights[1].abs() + 0.01       # all positive
    weights[2] = -weights[2].abs()             # all negative
    weights[3, 7] = 3.0                        # an outlier
    weights[4] = (torch.arange(COLUMNS) % 16).float() - 7.5  # every weight between two int4 codes
    weights[5] = 0.3                           # constant
    return weights.to(torch.bfloat16).to(torch.float32)  # short decimals


def arguments(bits, symmetric, strategy):
    return QuantizationArgs(num_bits=bits, type="int", symmetric=symmetric, strategy=strategy,
                            group_size=GROUP if strategy == "group" else None)


def make_case(weights, bits, symmetric, strategy):
    args = arguments(bits, symmetric, strategy)
    if strategy == "group":
        grouped = weights.reshape(ROWS, COLUMNS // GROUP, GROUP)
        low, high = grouped.amin(-1), grouped.amax(-1)
    elif strategy == "channel":
        low, high = weights.amin(-1, keepdim=True), weights.amax(-1, keepdim=True)
    else:
        low, high = weights.amin().reshape(1), weights.amax().reshape(1)
    scales, zeros = calculate_qparams(low, high, args)
    codes = quantize(weights, scales, zeros, args, dtype=torch.int8)
    case = {"bits": bits, "symmetric": symmetric, "strategy": strategy,
            "scales": scales.flatten().tolist(), "zeros": zeros.flatten().tolist(),
            "codes": codes.flatten().tolist()}
    if bits in (4, 8):
        case["packed"] = pack_to_int32(codes, bits).flatten().tolist()
        if not symmetric and strategy != "tensor":
            packed = pack_to_int32(zeros.to(torch.int8), bits, packed_dim=0)
            case["packed_zeros"] = packed.flatten().tolist()
    return case


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).parent / "rtn_compressed_tensors.json")
    out = parser.parse_args().out
    if compressed_tensors.__version__ != VERSION:
        got = compressed_tensors.__version__
        raise SystemExit(f"compressed-tensors: got {got}, wanted {VERSION}")
    weights = make_weights()
    cases = [make_case(weights, bits, symmetric, strategy)
             for bits in (2, 3, 4, 8)
             for symmetric in (True, False)
             for strategy in ("group", "channel", "tensor")]
    golden = {"made_by": f"tests/golden/make_rtn_golden.py with compressed-tensors {VERSION}, "
                         f"torch {torch.__version__}",
              "rows": ROWS, "columns": COLUMNS, "group_size": GROUP,
              "weights": weights.flatten().tolist(), "cases": cases}
    # One case a line, so that a change shows which.
    text = json.dumps(golden, separators=(",", ":")).replace('{"bits"', '\n{"bits"')
    out.write_text(text + "\n")


if __name__ == "__main__":
    main()
