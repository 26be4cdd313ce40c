#!/usr/bin/env python3
"""Writes gptq_gptqmodel.json: what GPTQModel 5.7.0 makes of a small matrix.

    python tests/golden/make_gptq_golden.py

Needs torch and gptqmodel 5.7.0. Inputs are small integers, so that the Gram matrix is exact in f32
and short in text. GPTQModel chooses the scales of a group from weights that lack the updates of its
own block of columns, so a block is made as wide as a group here. Damping is 0.01, scales are by
range and stay f32.
"""

import json
import pathlib

import torch
from gptqmodel.quantization.config import QuantizeConfig
from gptqmodel.quantization.gptq import GPTQ
from importlib.metadata import version

VERSION = "5.7.0"
ROWS, COLUMNS, GROUP, TOKENS = 12, 96, 32, 256


def make_inputs():
    """Correlated, of unlike size, no two channels with the same mean square."""
    while True:
        common = torch.randn(TOKENS, 8) @ torch.randn(8, COLUMNS)
        loudness = 3 * torch.exp(0.6 * torch.randn(COLUMNS))
        x = ((common + torch.randn(TOKENS, COLUMNS)) * loudness).round().clamp(-120, 120)
        if len(set((x * x).sum(0).tolist())) == COLUMNS:
            return x


def make_case(weights, x, bits, symmetric, order):
    layer = torch.nn.Linear(COLUMNS, ROWS, bias=False)
    layer.weight.data.copy_(weights)
    config = QuantizeConfig(bits=bits, group_size=GROUP, sym=symmetric, damp_percent=0.01,
                            desc_act=order in ("static", "desc-act"),
                            static_groups=order == "static",
                            act_group_aware=order == "group-aware", device="cpu",
                            offload_to_disk=False)
    task = GPTQ(layer, config)
    task.quantizer.configure(perchannel=True, bits=bits, sym=symmetric)
    task.add_batch(x.unsqueeze(0), layer(x).unsqueeze(0))
    rounded, scale, zero, group_of, _, _, damping, _ = task.quantize(blocksize=GROUP)
    assert damping == 0.01
    half = 2 ** (bits - 1)
    if order != "desc-act":
        group_of = torch.arange(COLUMNS) // GROUP
    steps = (rounded / scale[:, group_of]).round()
    codes = steps + zero[:, group_of] - half
    return {"bits": bits, "symmetric": symmetric, "act_order": order,
            "group_of": group_of.tolist(),
            "codes": codes.to(torch.int64).flatten().tolist(),
            "scales": scale.flatten().tolist(),
            "zeros": (zero - half).to(torch.int64).flatten().tolist()}


def main():
    assert version("gptqmodel") == VERSION
    torch.manual_seed(12)
    torch.set_num_threads(1)
    weights = (torch.randn(ROWS, COLUMNS) * 0.05).to(torch.bfloat16).to(torch.float32)
    x = make_inputs()
    gram = x.T @ x
    golden = {
        "made_by": f"make_gptq_golden.py with gptqmodel {VERSION}",
        "rows": ROWS, "columns": COLUMNS, "group_size": GROUP, "tokens": TOKENS,
        "weights": weights.flatten().tolist(),
        "gram": [int(gram[i, j]) for i in range(COLUMNS) for j in range(i, COLUMNS)],
        "cases": [make_case(weights, x, bits, symmetric, order)
                  for order in ("none", "static", "group-aware", "desc-act")
                  for symmetric in (True, False) for bits in (2, 3, 4, 8)],
    }
    path = pathlib.Path(__file__).with_name("gptq_gptqmodel.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
