"""Writes awq_autoawq.json: what AutoAWQ 0.2.9 chooses for one linear, for awq_reference_test.cc.

    pip install torch==2.6.0 transformers==4.51.3 numpy==2.2.6 accelerate==1.15.0 \
        'datasets<4.5' autoawq==0.2.9
    python tests/engine/method/golden/make_awq_golden.py

The library's own search runs, in float32: scale search on a linear (as for o_proj and down_proj),
clip search on the scaled linear, rounding. Its one fault on CPU is repaired, as tests/peers does:
the weights it means to keep are copied. Inputs and weights are integers over a power of two, so
that the file is short and exact.
"""

import json
import os
import pathlib
import sys

import torch
from awq.quantize import quantizer as library

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "peers"))
import clone_fix  # noqa: E402

ROWS, COLUMNS, TOKENS, GROUP = 64, 64, 48, 16
WEIGHT_UNIT, INPUT_UNIT = 2.0**-13, 2.0**-8

CASES = [
    {"name": "4 bits", "bits": 4, "symmetric": False, "duo": True},
    {"name": "3 bits", "bits": 3, "symmetric": False, "duo": True},
    {"name": "4 bits, no duo", "bits": 4, "symmetric": False, "duo": False},
    {"name": "4 bits, symmetric", "bits": 4, "symmetric": True, "duo": True},
]


def inputs():
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(ROWS, COLUMNS, generator=generator) * 0.02
    channels = torch.exp(torch.randn(COLUMNS, generator=generator))
    channels[7] *= 20
    x = torch.randn(TOKENS, COLUMNS, generator=generator) * channels
    mixed = x + 0.5 * x.roll(1, 1)  # neighbouring channels go together
    return (weight / WEIGHT_UNIT).round(), (mixed / INPUT_UNIT).round()


def search(case, weight, x):
    """The library's steps for one linear."""
    search = library.AwqQuantizer.__new__(library.AwqQuantizer)
    search.w_bit, search.group_size = case["bits"], GROUP
    search.zero_point, search.duo_scaling = not case["symmetric"], case["duo"]
    search.max_chunk_memory, search.n_parallel_calib_samples = 1 << 30, None
    losses = []
    measure = search._compute_loss

    def remember(*arguments):
        losses.append(measure(*arguments))
        return losses[-1]

    search._compute_loss = remember
    linear = torch.nn.Linear(COLUMNS, ROWS, bias=False)
    linear.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    module = torch.nn.ModuleDict({"down_proj": linear})
    _, _, scales = search._search_best_scale(module, linear, [linear], x.clone())
    scaled = weight * scales
    clip = search._compute_best_clip(scaled, x / scales)
    cut = scaled.reshape(ROWS, -1, GROUP)
    cut = torch.clamp(cut, -clip, clip).reshape(ROWS, COLUMNS)
    rounded, steps, zeros = search.pseudo_quantize_tensor(cut)
    codes = (rounded.reshape(ROWS, -1, GROUP) / steps[:, :, None]).round()  # less the zero
    absmax = scaled.reshape(ROWS, -1, GROUP).abs().amax(-1)
    return {
        **case,
        "losses": losses,
        "ratio": losses.index(min(losses)) / 20,
        "scales": scales.tolist(),
        "clip": (20 * (1 - clip.reshape(ROWS, -1) / absmax)).round().int().flatten().tolist(),
        "steps": [float(f"{step:.9g}") for step in steps.flatten().tolist()],
        "codes": codes.int().flatten().tolist(),
    }


@torch.no_grad()
def main():
    clone_fix.repair(library, library.AwqQuantizer)
    library.get_op_name = lambda module, op: "down_proj"
    weight, x = inputs()
    golden = {
        "made_by": "make_awq_golden.py, autoawq 0.2.9, torch " + torch.__version__,
        "rows": ROWS,
        "columns": COLUMNS,
        "tokens": TOKENS,
        "group_size": GROUP,
        "weight_unit": WEIGHT_UNIT,
        "input_unit": INPUT_UNIT,
        "weight": weight.int().flatten().tolist(),
        "x": x.int().flatten().tolist(),
        "cases": [search(case, weight * WEIGHT_UNIT, x * INPUT_UNIT) for case in CASES],
    }
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "awq_autoawq.json")
    with open(path, "w") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")
    for case in golden["cases"]:
        clip = sum(case["clip"]) / len(case["clip"])
        print(case["name"], "ratio", case["ratio"], "mean clip", clip)


main()
