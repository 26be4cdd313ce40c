"""What stands in where vLLM's CPU build lacks a kernel: the product alone, in torch.

Reading the configuration, fusing, shapes and loading stay vLLM's own. Each stand-in notes that it
ran, so that the table can name it.
"""

import torch
from vllm import _custom_ops as ops
from vllm.model_executor.kernels import linear
from vllm.model_executor.layers.quantization import auto_awq, auto_gptq
from vllm.model_executor.layers.quantization.compressed_tensors.schemes import (
    compressed_tensors_w4a4_mxfp4 as w4a4_mxfp4, compressed_tensors_w4a4_nvfp4 as w4a4_nvfp4)
from vllm.model_executor.layers.quantization.utils import nvfp4_emulation_utils
from vllm.platforms import PlatformEnum

INT4 = "int4 product"  # cpu_gemm_wna16 is in the AVX-512 build alone, and takes 16-bit types
WIDE = "weight-only product"  # no CPU has a kernel for weights of other widths than 4
INT8 = "exact int8 product"  # oneDNN saturates where the CPU has no VNNI
FP8 = "fp8 product"  # no CPU has a kernel for FP8 weights and plain inputs
FP4 = "fp4 product"  # nor for NVFP4 and MXFP4

USED = set()


def gemm_wna16(input, q_weight, scales, zeros, bias, pack_factor, isa_hint):
    """input [tokens, K] times 4-bit weights as csrc/cpu/cpu_wna16.cpp has them."""
    del pack_factor, isa_hint
    USED.add(INT4)
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    inputs_count, groups = q_weight.shape[1] // 2, scales.shape[0]
    codes = q_weight.view(-1, inputs_count, 2).unsqueeze(-1) >> shifts & 15
    codes = codes.permute(1, 0, 2, 3).reshape(groups, inputs_count // groups, -1)
    zero = 8
    if zeros is not None:
        zero = (zeros.unsqueeze(-1) >> shifts & 15).reshape(groups, 1, -1)
    weight = ((codes - zero) * scales.float().unsqueeze(1)).reshape(inputs_count, -1)
    out = input.float() @ weight
    return (out if bias is None else out + bias.float()).to(input.dtype)


def unpacked(words, bits, count, dim):
    """`count` codes of `bits` bits along `dim` of dense 32-bit words, low first."""
    words = words.movedim(dim, -1).to(torch.int64) & 0xFFFFFFFF
    at = torch.arange(count) * bits
    word, shift = at // 32, at % 32
    after = (word + 1).clamp(max=words.shape[-1] - 1)
    codes = words[..., word] >> shift | words[..., after] << (32 - shift)
    return (codes & ((1 << bits) - 1)).to(torch.int32).movedim(-1, dim)


class TorchWNA16(linear.CPUWNA16LinearKernel):
    """Packed weights of any width, which no kernel for CPUs takes."""

    @classmethod
    def can_implement(cls, c):
        del c
        return True, None

    def process_weights_after_loading(self, layer):
        packed, scales = getattr(layer, self.w_q_name), getattr(layer, self.w_s_name)
        kind = self.config.weight_type
        inputs, outputs = self.config.partition_weight_shape
        codes = unpacked(packed.data, kind.size_bits, inputs, packed.packed_dim)
        codes = codes.t() if packed.input_dim == 1 else codes
        scales = (scales.data.t() if scales.output_dim == 0 else scales.data).float()
        zero = kind.bias
        if self.config.zero_points:
            zeros = getattr(layer, self.w_zp_name)
            zero = unpacked(zeros.data, kind.size_bits, outputs, zeros.packed_dim)
            zero = (zero.t() if zeros.output_dim == 0 else zero).unsqueeze(1)
        groups = scales.shape[0]
        codes = codes.reshape(groups, inputs // groups, outputs)
        layer.dense = ((codes - zero) * scales.unsqueeze(1)).reshape(inputs, outputs)

    def apply_weights(self, layer, x, bias=None):
        USED.add(WIDE)
        out = x.float() @ layer.dense
        return (out if bias is None else out + bias.float()).to(x.dtype)


class TorchFp8(linear.FP8ScaledMMLinearKernel):
    """FP8 weights [N, K] with a scale per output or per block; inputs as they are."""

    @classmethod
    def is_supported(cls, compute_capability=None):
        del compute_capability
        return True, None

    @classmethod
    def can_implement(cls, c):
        del c
        return True, None

    def apply_weights(self, layer, x, bias=None):
        USED.add(FP8)
        scale = getattr(layer, "weight_scale_inv", None)
        weight = layer.weight.float()
        if scale is None:
            scale = layer.weight_scale.reshape(-1, 1).float()
        else:
            rows, columns = layer.weight_block_size
            scale = scale.float().repeat_interleave(rows, 0)[:weight.shape[0]]
            scale = scale.repeat_interleave(columns, 1)[:, :weight.shape[1]]
        out = x.float() @ (weight * scale).t()
        return (out if bias is None else out + bias.float()).to(x.dtype)

    def apply_scaled_mm(self, **arguments):
        raise NotImplementedError


class TorchFp4:
    """Codes of 4 bits, two a byte; their weights by vLLM's own emulation, inputs as they are."""

    def __init__(self, dequantize):
        self.dequantize = dequantize

    def input_quant_key(self):
        return None

    def process_weights_after_loading(self, layer):
        layer.dense = self.dequantize(layer)

    def apply_weights(self, layer, x, bias=None):
        USED.add(FP4)
        out = x.float() @ layer.dense.t()
        return (out if bias is None else out + bias.float()).to(x.dtype)


def nvfp4_weight(layer):
    return nvfp4_emulation_utils.dequantize_to_dtype(
        layer.weight.data, layer.weight_scale.data, layer.weight_global_scale, torch.float32,
        swizzle=False)


def mxfp4_weight(layer):
    codes = nvfp4_emulation_utils.break_fp4_bytes(layer.weight.data, torch.float32)
    powers = torch.exp2(layer.weight_scale.data.float() - 127)
    rows, groups = powers.shape
    return (codes.reshape(rows, groups, -1) * powers.unsqueeze(-1)).reshape(rows, -1)


def floating():
    """No kernel for CPUs takes these. That inputs are rounded where a scheme says so is left out:
    schemes for weights alone are compared."""
    linear._POSSIBLE_WFP8A16_KERNELS[PlatformEnum.CPU].append(TorchFp8)
    linear._POSSIBLE_MXFP8_KERNELS.setdefault(PlatformEnum.CPU, []).append(
        linear.EmulationMxfp8LinearKernel)
    w4a4_nvfp4.init_nvfp4_linear_kernel = lambda **_: TorchFp4(nvfp4_weight)
    w4a4_mxfp4.init_mxfp4_linear_kernel = lambda **_: TorchFp4(mxfp4_weight)


def exact_int8():
    """The product of int8 matrices; oneDNN adds pairs in 16 bits where there is no VNNI."""
    create = ops.create_onednn_scaled_mm

    def keep(weight, scales, *rest):
        handler = create(weight, scales, *rest)
        handler.dense = weight.clone(), scales.double().reshape(1, -1)
        return handler

    def scaled_mm(handler, x, output, scale, zero, zero_adj, bias):
        del zero_adj
        USED.add(INT8)
        weight, scales = handler.dense
        x = x.double() if zero is None else x.double() - zero.double()
        out = x @ weight.double() * scale.double() * scales
        return output.copy_(out if bias is None else out + bias.double())

    ops.create_onednn_scaled_mm, ops.onednn_scaled_mm = keep, scaled_mm


def in_float32(config):
    """GPTQ's and AWQ's methods take 16-bit activations alone, as their kernels do."""
    config.get_supported_act_dtypes = classmethod(lambda cls: [torch.float32])


def install():
    """Only what this CPU lacks for float32: a kernel for 4 bits, if there is one, takes 16-bit
    types alone."""
    ops.cpu_gemm_wna16 = gemm_wna16
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        if "vnni" not in file.read():
            exact_int8()
    for config in (auto_awq.AutoAWQConfig, auto_gptq.AutoGPTQConfig):
        in_float32(config)
    auto_gptq.verify_marlin_supported = lambda **_: None  # asks for Marlin, on this device 4 bits
    linear._POSSIBLE_KERNELS[PlatformEnum.CPU].append(TorchWNA16)
    floating()
