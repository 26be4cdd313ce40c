"""Makes fp8/: tiny checkpoints whose weights are FP8 in the layouts that are read, each with the
weights they stand for, and float8.json: the value of every code.

Run with numpy 2.4.6 and ml_dtypes 0.6.0:  python tests/golden/make_fp8_golden.py
Codes, scales and products are made by ml_dtypes: float32 of a code times float32 of its scale,
rounded to the type of the model.
"""

import json
import pathlib
import shutil

import ml_dtypes
import numpy

assert numpy.__version__ == "2.4.6", numpy.__version__
assert ml_dtypes.__version__ == "0.6.0", ml_dtypes.__version__

OUT = pathlib.Path(__file__).parent
E4M3 = ml_dtypes.float8_e4m3fn
BF16 = ml_dtypes.bfloat16
F32 = numpy.float32
TYPES = {
    numpy.dtype(E4M3): "F8_E4M3",
    numpy.dtype(BF16): "BF16",
    numpy.dtype(F32): "F32",
    numpy.dtype(numpy.float16): "F16",
}
# Neither a multiple of the blocks nor of the rows that a thread takes.
HIDDEN, INTERMEDIATE, VOCABULARY, KV = 136, 144, 64, 34
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
LINEARS = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
DENSE = {
    "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
    "lm_head.weight": (VOCABULARY, HIDDEN),
    "model.norm.weight": (HIDDEN,),
    "model.layers.0.input_layernorm.weight": (HIDDEN,),
    "model.layers.0.post_attention_layernorm.weight": (HIDDEN,),
}
GROUP = {
    "targets": ["Linear"],
    "weights": {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False},
    "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
}

# name: (torch_dtype, quantization_config, block of a scale, name, type and shape of scales,
# static inputs)
VARIANTS = {
    "deepseek-block": (
        BF16,
        {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
         "weight_block_size": [128, 128]},
        (128, 128), "weight_scale_inv", F32, None, False,
    ),
    "compressed-channel": (
        BF16,
        {"quant_method": "compressed-tensors", "format": "float-quantized",
         "config_groups": {
             "group_0": GROUP | {"weights": GROUP["weights"] | {"strategy": "channel"}}},
         "ignore": ["lm_head"]},
        (1, None), "weight_scale", BF16, None, False,
    ),
    "compressed-block": (
        numpy.float16,
        {"quant_method": "compressed-tensors", "format": "float-quantized",
         "config_groups": {"group_0": GROUP | {"weights": GROUP["weights"] | {
             "strategy": "block", "block_structure": [64, 32]}}},
         "ignore": ["lm_head"]},
        (64, 32), "weight_scale", numpy.float16, None, False,
    ),
    "static-tensor": (
        F32,
        {"quant_method": "fp8", "activation_scheme": "static"},
        (None, None), "weight_scale", F32, (), True,
    ),
}
NAMES = {
    numpy.dtype(BF16): "bfloat16",
    numpy.dtype(F32): "float32",
    numpy.dtype(numpy.float16): "float16",
}


def save(path: pathlib.Path, tensors: dict[str, numpy.ndarray]) -> None:
    """One safetensors file."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": TYPES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text
                     + b"".join(array.tobytes() for array in tensors.values()))


def quantize(weight: numpy.ndarray, block: tuple, dtype: type) -> tuple[numpy.ndarray, ...]:
    """Codes, scales [blocks down, blocks across] and the products of both in float32."""
    rows, columns = weight.shape
    down, across = block[0] or rows, block[1] or columns
    scales = numpy.zeros((-(-rows // down), -(-columns // across)), dtype)
    codes = numpy.zeros(weight.shape, E4M3)
    products = numpy.zeros(weight.shape, F32)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = numpy.s_[i * down:(i + 1) * down, j * across:(j + 1) * across]
            scales[i, j] = numpy.abs(weight[part]).max() / 448
            codes[part] = (weight[part] / F32(scales[i, j])).clip(-448, 448).astype(E4M3)
            products[part] = codes[part].astype(F32) * F32(scales[i, j])
    return codes, scales, products


def make_model(name: str, seed: int) -> None:
    """fp8/NAME: model.safetensors and config.json, and dequantized.safetensors."""
    dtype, quantization, block, scale_name, scale_type, scale_shape, static = VARIANTS[name]
    random = numpy.random.default_rng(seed)

    def values(*shape: int, spread: float = 0.3) -> numpy.ndarray:
        return (random.standard_normal(shape) * spread).astype(F32)

    stored: dict[str, numpy.ndarray] = {}
    dense: dict[str, numpy.ndarray] = {}
    for tensor, shape in DENSE.items():
        stored[tensor] = dense[tensor] = (values(*shape) + (len(shape) == 1)).astype(dtype)
    for linear, shape in LINEARS.items():
        tensor = f"model.layers.0.{linear}."
        # Rows and columns of very different size, so that a wrong scale shows.
        weight = values(*shape) * numpy.exp(values(shape[0], 1, spread=2))
        weight *= numpy.exp(values(shape[1], spread=2))
        weight = numpy.clip(weight / numpy.abs(weight).max(), -1, 1) * F32(0.7)
        codes, scales, products = quantize(weight, block, scale_type)
        stored[tensor + "weight"] = codes
        stored[tensor + scale_name] = scales if scale_shape is None else scales.reshape(scale_shape)
        if static:
            stored[tensor + "input_scale"] = numpy.array(0.05, F32)
        dense[tensor + "weight"] = products.astype(dtype)
    folder = OUT / "fp8" / name
    folder.mkdir(parents=True)
    save(folder / "model.safetensors", stored)
    save(folder / "dequantized.safetensors", dense)
    config = CONFIG | {"torch_dtype": NAMES[numpy.dtype(dtype)],
                       "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def code_values() -> dict[str, list[int]]:
    """Bits of the float32 of every code; -1: NaN."""
    tables = {}
    for name, dtype in {"F8_E4M3": E4M3, "F8_E5M2": ml_dtypes.float8_e5m2,
                        "F8_E8M0": ml_dtypes.float8_e8m0fnu}.items():
        values = numpy.arange(256, dtype=numpy.uint8).view(dtype).astype(F32)
        bits = values.view(numpy.uint32).astype(numpy.int64)
        tables[name] = numpy.where(numpy.isnan(values), -1, bits).tolist()
    return tables


def main() -> None:
    """Makes everything anew."""
    shutil.rmtree(OUT / "fp8", ignore_errors=True)
    for seed, name in enumerate(VARIANTS):
        make_model(name, seed)
    (OUT / "float8.json").write_text(json.dumps(code_values(), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
