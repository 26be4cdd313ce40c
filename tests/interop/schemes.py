"""What is written, by whom it is loaded, and how near the evaluations must be."""

from dataclasses import dataclass

# Weight-only schemes dequantize to the same numbers on both sides, so only the order of float32
# sums differs. W8A8 differs by one more thing: compressed-tensors scales a token by absmax / 127.5,
# quantd by absmax / 127, as the integer kernels of serving engines do. So its activations round
# differently, and logits differ by less than quantization moves them but not by much less. With the
# library's divisor set to 127 both sides are the same, until some activation lies so close to a tie
# that the order of sums decides; at the start of a window that has not happened yet. A kernel that
# holds weights in float16 rounds each of them once more.
#   largest: of all logit differences; early: the median over the first 8 positions of the largest;
#   rms: root mean square of the differences, to that of what quantization does to the logits.
EXACT = {"largest": 2e-4, "perplexity": 1e-5, "kl": 1e-3, "top1": 2e-4}
SAME_SCALES = {"early": 2e-4, "rms": 0.6, "perplexity": 1e-3, "kl": 1e-2, "top1": 3e-3}
ROUNDING = {"rms": 0.9, "perplexity": 1e-2, "kl": 2e-2, "top1": 5e-3}
# Weights of the model's own type, bfloat16, are rounded once more too. On random models W8A8 moves
# logits little, and the library's divisor about as much: there it is set to 127.
WIDENED = {"largest": 0.5, "rms": 0.05, "perplexity": 2e-3, "kl": 1e-2, "top1": 1e-2}
HALF = {"largest": 3e-2, "rms": 0.012, "perplexity": 1e-4, "kl": 1e-2, "top1": 2e-3}
# 8 bits move logits so little that the float16 of a kernel is much of it.
FINE = HALF | {"rms": 0.5, "kl": 5e-2}

BOOKS = "books-3m"


@dataclass(frozen=True)
class Reading:
    load: str  # a function of consumers.py or consumers_older.py
    limits: dict


@dataclass(frozen=True)
class Scheme:
    name: str
    flags: str  # of quantd-worker quantize
    current: Reading | None
    older: Reading | None = None  # libraries of a year ago: a smaller column
    model: str = BOOKS
    windows: int = 8


DEFAULT = Reading("transformers_default", EXACT)
CPU = Reading("transformers_cpu", EXACT)


def compressed_tensors_schemes():
    plain = {
        "rtn-int4-g128-sym": "--method rtn --bits 4 --group-size 128 --symmetric",
        "rtn-int4-g32-absmax":
            "--method rtn --bits 4 --group-size 32 --scale-rule absmax --symmetric",
        "rtn-int8-g128": "--method rtn --bits 8 --group-size 128",
        "int8-w8a16": "--method int8 --activations none",
    }
    rounding = Reading("transformers_default", ROUNDING)
    same = Reading("transformers_default", SAME_SCALES)
    inputs = {
        "int8-w8a8": ("--method int8", rounding),
        "int8-w8a8-divisor-127": ("--method int8", Reading("divisor_127", SAME_SCALES)),
        "smoothquant": ("--method smoothquant", rounding),
        "int8-static": ("--method int8 --activations static", same),
        "int8-static-asym":
            ("--method int8 --activations static --option activation_symmetric=false", same),
        "smoothquant-static": ("--method smoothquant --activations static", same),
    }
    return ([Scheme(name, flags, DEFAULT, DEFAULT, windows=32) for name, flags in plain.items()] +
            [Scheme(name, flags, how, how, windows=32) for name, (flags, how) in inputs.items()] +
            [Scheme("rtn-int4-g128-asym", "--method rtn --bits 4 --group-size 128 --asymmetric",
                    Reading("decompressed", WIDENED), Reading("decompressed", EXACT), windows=32)])


GPTQ4 = "--format gptq --method rtn --bits 4 --group-size 128"
HQQ = "--format hqq --method hqq"


def awq_schemes():
    awq = "--format awq --method awq --samples 16"
    kernel, unpacked = Reading("gptqmodel", HALF), Reading("awq_unpacked", EXACT)
    return [Scheme("awq-gptqmodel", awq, kernel, kernel),
            Scheme("awq-transformers", awq, Reading("transformers_cpu", HALF)),
            Scheme("awq-unpacked", awq, unpacked, unpacked),
            Scheme("awq-sym-channel", "--format awq --method rtn --granularity channel --symmetric",
                   unpacked, unpacked)]


def gptq_schemes():
    half, fine = Reading("transformers_cpu", HALF), Reading("transformers_cpu", FINE)
    torch = Reading("gptq_torch", HALF)
    four = "--format gptq --method gptq --symmetric --samples 16"
    rows = {
        "int4": (four, half, CPU),
        "desc-act": (f"{four} --option act_order=desc-act", half, CPU),
        "int3-desc-act": ("--format gptq --method gptq --bits 3 --group-size 64 --symmetric "
                          "--samples 16 --option act_order=desc-act", half, CPU),
        "desc-act-asym": ("--format gptq --method gptq --samples 16 --option act_order=desc-act",
                          half, Reading("gptq_torch", EXACT)),
        "int4-asym": (f"{GPTQ4} --asymmetric", half, Reading("gptq_torch", EXACT)),
        "int2-asym": ("--format gptq --method rtn --bits 2 --group-size 32 --asymmetric", half,
                      CPU),
        "int3": ("--format gptq --method rtn --bits 3 --group-size 64 --symmetric", half, CPU),
        "int3-asym": ("--format gptq --method rtn --bits 3 --group-size 64 --asymmetric", half,
                      CPU),
        "int4-channel": ("--format gptq --method rtn --granularity channel --symmetric", torch,
                         None),
        "int8-channel": ("--format gptq --method rtn --bits 8 --granularity channel --symmetric",
                         fine, CPU),
        "skipped": (f"{GPTQ4} --override model.layers.1.mlp.*=skip", half, CPU),
        # No kernel of GPTQModel 7.7 for CPUs takes both widths and float32.
        "mixed": (f"{GPTQ4} --override model.layers.0.*=rtn:bits=8:group_size=32", None,
                  Reading("gptqmodel", EXACT)),
    }
    return [Scheme(f"gptq-{name}", *row) for name, row in rows.items()]


def hqq_schemes():
    rows = {
        "int4": "--bits 4 --group-size 64 --samples 16",
        "int3-mixed": "--bits 3 --group-size 64 --option weighted=false "
                      "--override model.layers.2.*=hqq:bits=8:group_size=128 "
                      "--override model.layers.3.mlp.up_proj=skip",
        "int2-axis-0": "--bits 2 --group-size 32 --option weighted=false --option axis=0",
        "int1": "--bits 1 --group-size 16 --samples 16",
    }
    return [Scheme(f"hqq-{name}", f"{HQQ} {flags}", Reading("hqq_library", EXACT), DEFAULT)
            for name, flags in rows.items()]


def family_schemes(family):
    """Each format once: names, biases and tied heads of another family."""
    rows = [
        ("ct-int4", "--method rtn --bits 4 --group-size 128 --symmetric", DEFAULT),
        ("ct-w8a8", "--method int8", Reading("divisor_127", SAME_SCALES)),
        ("awq", "--format awq --method rtn --bits 4 --group-size 128 --asymmetric",
         Reading("awq_unpacked", EXACT)),
        ("awq-gptqmodel", "--format awq --method rtn --bits 4 --group-size 128 --asymmetric",
         Reading("gptqmodel", HALF)),
        ("gptq-int4", f"{GPTQ4} --symmetric", Reading("transformers_cpu", HALF)),
        ("hqq-int4", f"{HQQ} --bits 4 --group-size 64 --option weighted=false",
         Reading("hqq_library", EXACT)),
        ("dequantized-int4", "--format dequantized --method rtn --bits 4",
         Reading("transformers_default", WIDENED)),
    ]
    return [Scheme(f"{family}-{name}", flags, how, model=family, windows=4)
            for name, flags, how in rows]


WIDE = Reading("transformers_default", WIDENED)
SCHEMES = (compressed_tensors_schemes() + awq_schemes() + gptq_schemes() + hqq_schemes() +
           [Scheme("dequantized-int3", "--format dequantized --method rtn --bits 3", WIDE, WIDE)] +
           family_schemes("qwen2") + family_schemes("qwen3"))
