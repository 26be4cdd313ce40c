#!/usr/bin/env python3
"""Writes hqq.json: what hqq 0.2.8.post1 makes of a small matrix.

Needs torch and hqq 0.2.8.post1 (`./dev peers --setup`). On the CPU the library computes in f32;
scales and zeros stay f32. This version leaves out the growth of beta, so kappa is 1 here.
"""

import argparse
import importlib.metadata
import json
import pathlib

import torch
from hqq.core.quantize import Quantizer

VERSION = "0.2.8.post1"
ROWS, COLUMNS, GROUP = 32, 64, 16


def make_weights():
    torch.manual_seed(7)
    weights = torch.randn(ROWS, COLUMNS) * 0.02
    weights[1] = weights[1].abs() + 0.05       # zero points beyond the codes
    weights[2, 5] = 0.9                        # an outlier
    weights[3] = torch.distributions.StudentT(4.0).sample((COLUMNS,)) * 0.02
    weights[4, :GROUP] = 0.0625                # constant
    return weights.to(torch.bfloat16).to(torch.float32)  # short decimals


def make_case(weights, bits, factor, axis):
    codes, meta = Quantizer.quantize(weights * factor, nbits=bits, group_size=GROUP, axis=axis,
                                     round_zero=bits == 4, bitpack=False, device="cpu",
                                     compute_dtype=torch.float32)
    return {"bits": bits, "factor": factor, "axis": axis,
            "codes": codes.to(torch.int32).flatten().tolist(),
            "scales": meta["scale"].flatten().tolist(), "zeros": meta["zero"].flatten().tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).with_name("hqq.json"))
    version = importlib.metadata.version("hqq")
    if version != VERSION:
        raise SystemExit(f"hqq {version}, wanted {VERSION}")
    weights = make_weights()
    # Factor 64: residuals large enough for the shrink operator to act.
    cases = [make_case(weights, bits, 1, 1) for bits in (1, 1.58, 2, 3, 4, 5, 6, 8)]
    cases += [make_case(weights, bits, 64, 1) for bits in (1, 2, 4)]
    cases += [make_case(weights, bits, 1, 0) for bits in (2, 4)]
    golden = {"hqq": VERSION, "rows": ROWS, "columns": COLUMNS, "group_size": GROUP,
              "weights": weights.flatten().tolist(), "cases": cases}
    parser.parse_args().out.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
