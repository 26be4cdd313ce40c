#!/usr/bin/env python3
"""Codes in, bytes out: what the libraries that define a layout make of the same small linear.

    make_packing_golden.py gptqmodel|autoawq|hqq|compressed-tensors

Writes packing_LIBRARY.json beside itself. Run with gptqmodel 5.7.0, autoawq 0.2.9, hqq
0.2.8.post1 and compressed-tensors 0.20.0 (each refuses another version). The linear has 32 outputs
and 64 inputs, groups of 32 (for compressed-tensors also 21 and 45, one group a row); codes count
from 0, scales are exact in float16, so packing is all that can differ.
"""

import importlib.metadata
import json
import pathlib
import sys

import numpy as np
import torch

ROWS, COLUMNS, GROUP = 32, 64, 32
VERSIONS = {"gptqmodel": "5.7.0", "autoawq": "0.2.9", "hqq": "0.2.8.post1",
            "compressed-tensors": "0.20.0"}


def draw(seed, bits, shape):
    return np.random.default_rng(seed).integers(0, 1 << bits, size=shape, dtype=np.int64)


def grouped_linear(seed, bits, symmetric):
    """(codes [N, K], zeros [N, G], scales [N, G]); v1 of GPTQ has no zero point 0."""
    groups = COLUMNS // GROUP
    codes = draw(seed, bits, (ROWS, COLUMNS))
    zeros = np.full((ROWS, groups), 1 << (bits - 1)) if symmetric else np.maximum(
        draw(seed + 1, bits, (ROWS, groups)), 1)
    scales = 2.0 ** -draw(seed + 2, 3, (ROWS, groups))
    return codes, zeros, scales


def dense(codes, zeros, scales, groups_of=None):
    """The torch linear that the codes stand for."""
    if groups_of is None:
        groups_of = np.arange(COLUMNS) // GROUP
    linear = torch.nn.Linear(COLUMNS, ROWS, bias=False)
    weight = (codes - zeros[:, groups_of]) * scales[:, groups_of]
    linear.weight.data = torch.tensor(weight, dtype=torch.float32)
    return linear


def integers(array):
    return np.asarray(array).astype(np.int64).reshape(-1).tolist()


def case(bits, symmetric, codes, zeros, scales, **tensors):
    return {"bits": bits, "symmetric": symmetric, "codes": integers(codes),
            "zeros": integers(zeros), "scales": scales.reshape(-1).tolist(),
            **{name: tensor.reshape(-1).tolist() for name, tensor in tensors.items()}}


def gptqmodel_cases():
    from gptqmodel.nn_modules.qlinear.torch import TorchQuantLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    from gptqmodel.quantization import QuantizeConfig

    neighbours = torch.arange(COLUMNS, dtype=torch.int32) // GROUP
    anywhere = neighbours[torch.tensor(np.random.default_rng(99).permutation(COLUMNS))]
    widths = [(bits, symmetric, neighbours) for bits in (2, 3, 4, 8) for symmetric in (True, False)]
    ordered = [(4, True, anywhere), (4, False, anywhere), (3, False, anywhere)]
    for seed, (bits, symmetric, groups_of) in enumerate(widths + ordered):
        codes, zeros, scales = grouped_linear(seed, bits, symmetric)
        module = TorchQuantLinear(bits=bits, group_size=GROUP, sym=symmetric, desc_act=False,
                                  in_features=COLUMNS, out_features=ROWS, bias=False,
                                  pack_dtype=torch.int32)
        module.pack_original(dense(codes, zeros, scales, groups_of.numpy()),
                             torch.tensor(scales, dtype=torch.float32),
                             torch.tensor(zeros, dtype=torch.float32), groups_of.long())
        v2 = module.qzeros.clone()
        config = QuantizeConfig(bits=bits, group_size=GROUP, sym=symmetric)
        convert_gptq_v2_to_v1_format_module(module, config)
        yield case(bits, symmetric, codes, zeros, scales, qweight=module.qweight,
                   qzeros_v1=module.qzeros, qzeros_v2=v2, stored_scales=module.scales.float(),
                   g_idx=groups_of)


def autoawq_cases():
    from awq.modules.linear.gemm import WQLinear_GEMM

    for seed, symmetric in ((20, True), (21, False)):
        codes, zeros, scales = grouped_linear(seed, 4, symmetric)
        module = WQLinear_GEMM.from_linear(
            dense(codes, zeros, scales), w_bit=4, group_size=GROUP,
            scales=torch.tensor(scales, dtype=torch.float32).t().contiguous(),
            zeros=torch.tensor(zeros, dtype=torch.float32).t().contiguous())
        yield case(4, symmetric, codes, zeros, scales, qweight=module.qweight, qzeros=module.qzeros,
                   stored_scales=module.scales.float())


def hqq_cases():
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer

    for seed, (bits, axis) in enumerate(
            [(bits, axis) for bits in (1, 2, 3, 4, 5, 6, 8) for axis in (1, 0)]):
        config = BaseQuantizeConfig(nbits=bits, group_size=GROUP, axis=axis)
        codes = draw(40 + seed, bits, (ROWS, COLUMNS))
        grouped = torch.tensor(codes).reshape((-1, GROUP) if axis == 1 else (GROUP, -1))
        groups = codes.size // GROUP
        shape = (groups, 1) if axis == 1 else (1, groups)
        scales = torch.tensor(2.0 ** -draw(60 + seed, 3, shape), dtype=torch.float32)
        zeros = torch.tensor(draw(80 + seed, 6, shape) / 8, dtype=torch.float32)
        module = HQQLinear(None, config, compute_dtype=torch.float32, device="cpu")
        packing = Quantizer.bit_to_packing[bits]
        module.W_q = torch.nn.Parameter(Quantizer.pack[packing](grouped), requires_grad=False)
        module.meta = {"nbits": bits, "group_size": GROUP, "shape": torch.Size((ROWS, COLUMNS)),
                       "scale": scales, "zero": zeros, "axis": axis, "packing": packing,
                       "unpack_view_dtype": Quantizer.unpack_view_dtype[packing],
                       "view_as_float": False, "quant_scale": False, "quant_zero": False,
                       "compute_dtype": torch.float32}
        module.ready = True
        state = module.state_dict()
        yield {"bits": bits, "axis": axis, "codes": integers(codes),
               "zeros": zeros.reshape(-1).tolist(), "scales": scales.reshape(-1).tolist(),
               "tensors": {name: {"dtype": str(tensor.dtype).removeprefix("torch."),
                                  "shape": list(tensor.shape),
                                  "values": tensor.reshape(-1).tolist()}
                           for name, tensor in state.items()}}


def compressed_tensors_cases():
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    shapes = [(ROWS, COLUMNS, GROUP), (21, 45, 45)]
    for seed, (bits, symmetric, (rows, columns, group)) in enumerate(
            (bits, symmetric, shape) for bits in range(2, 9) for symmetric in (True, False)
            for shape in shapes):
        middle, groups = 1 << (bits - 1), columns // group
        codes = draw(100 + seed, bits, (rows, columns))
        zeros = (np.full((rows, groups), middle) if symmetric
                 else draw(200 + seed, bits, (rows, groups)))
        scales = 2.0 ** -draw(300 + seed, 3, (rows, groups))
        strategy = {"strategy": "channel"} if groups == 1 else {
            "strategy": "group", "group_size": group}
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(
            num_bits=bits, type="int", symmetric=symmetric, **strategy))
        groups_of = np.arange(columns) // group
        weight = (codes - zeros[:, groups_of]) * scales[:, groups_of]
        state = {"weight": torch.tensor(weight, dtype=torch.float32),
                 "weight_scale": torch.tensor(scales, dtype=torch.float32),
                 "weight_zero_point": torch.tensor(zeros - middle, dtype=torch.int8)}
        saved = compressor.compress(state, scheme)
        yield {"rows": rows, "columns": columns, "group_size": group,
               **case(bits, symmetric, codes, zeros, scales, **saved)}


def main():
    library = sys.argv[1]
    version = importlib.metadata.version(library)
    if version != VERSIONS[library]:
        sys.exit(f"{library} {version} is installed, wanted {VERSIONS[library]}")
    name = library.replace("-", "_")
    cases = list(globals()[f"{name}_cases"]())
    path = pathlib.Path(__file__).parent / f"packing_{name}.json"
    body = ",\n".join(json.dumps(one, separators=(",", ":")) for one in cases)
    head = json.dumps({"library": f"{library} {version}", "rows": ROWS, "columns": COLUMNS,
                       "group_size": GROUP})
    path.write_text(f'{head[:-1]}, "cases": [\n{body}\n]}}\n')
    print(f"{path.name}: {len(cases)} cases")


if __name__ == "__main__":
    main()
