"""What is written, by whom it is loaded, and how near the evaluations must be."""

from dataclasses import dataclass
from typing import Callable

import consumers

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
HALF = {"largest": 3e-2, "rms": 0.01, "perplexity": 1e-4, "kl": 1e-2, "top1": 2e-3}

BOOKS = "books-3m"


@dataclass(frozen=True)
class Scheme:
    name: str
    flags: str  # of quantd-worker quantize
    limits: dict
    load: Callable = consumers.transformers_default
    model: str = BOOKS
    windows: int = 8


def compressed_tensors_schemes():
    rows = [
        ("rtn-int4-g128-sym", "--method rtn --bits 4 --group-size 128 --symmetric", EXACT,
         consumers.transformers_default),
        ("rtn-int4-g128-asym", "--method rtn --bits 4 --group-size 128 --asymmetric", EXACT,
         consumers.decompressed),
        ("rtn-int4-g32-absmax", "--method rtn --bits 4 --group-size 32 --scale-rule absmax", EXACT,
         consumers.transformers_default),
        ("rtn-int8-g128", "--method rtn --bits 8 --group-size 128", EXACT,
         consumers.transformers_default),
        ("int8-w8a16", "--method int8 --activations none", EXACT, consumers.transformers_default),
        ("int8-w8a8", "--method int8", ROUNDING, consumers.transformers_default),
        ("int8-w8a8-divisor-127", "--method int8", SAME_SCALES, consumers.divisor_127),
        ("smoothquant", "--method smoothquant", ROUNDING, consumers.transformers_default),
        ("int8-static", "--method int8 --activations static", SAME_SCALES,
         consumers.transformers_default),
        ("int8-static-asym",
         "--method int8 --activations static --option activation_symmetric=false", SAME_SCALES,
         consumers.transformers_default),
        ("smoothquant-static", "--method smoothquant --activations static", SAME_SCALES,
         consumers.transformers_default),
    ]
    return [Scheme(name, flags, limits, load, windows=32) for name, flags, limits, load in rows]


GPTQ4 = "--format gptq --method rtn --bits 4 --group-size 128"
HQQ = "--format hqq --method hqq"


def books_schemes():
    cpu = consumers.transformers_cpu
    return [
        Scheme("awq-gptqmodel", "--format awq --method awq --samples 16", HALF,
               consumers.gptqmodel),
        Scheme("awq-unpacked", "--format awq --method awq --samples 16", EXACT,
               consumers.awq_unpacked),
        Scheme("awq-sym-channel", "--format awq --method rtn --granularity channel --symmetric",
               EXACT, consumers.awq_unpacked),
        Scheme("gptq-int4", "--format gptq --method gptq --symmetric --samples 16", EXACT, cpu),
        Scheme("gptq-desc-act", "--format gptq --method gptq --symmetric --samples 16 "
               "--option act_order=desc-act", EXACT, cpu),
        Scheme("gptq-int3-desc-act", "--format gptq --method gptq --bits 3 --group-size 64 "
               "--symmetric --samples 16 --option act_order=desc-act", EXACT, cpu),
        Scheme("gptq-desc-act-asym", "--format gptq --method gptq --samples 16 "
               "--option act_order=desc-act", EXACT, consumers.gptq_torch),
        Scheme("gptq-int4-asym", f"{GPTQ4} --asymmetric", EXACT, consumers.gptq_torch),
        Scheme("gptq-int2-asym", "--format gptq --method rtn --bits 2 --group-size 32 --asymmetric",
               EXACT, cpu),
        Scheme("gptq-int3", "--format gptq --method rtn --bits 3 --group-size 64 --symmetric",
               EXACT, cpu),
        Scheme("gptq-int3-asym", "--format gptq --method rtn --bits 3 --group-size 64 --asymmetric",
               EXACT, cpu),
        Scheme("gptq-int8-channel",
               "--format gptq --method rtn --bits 8 --granularity channel --symmetric", EXACT, cpu),
        Scheme("gptq-skipped", f"{GPTQ4} --override model.layers.1.mlp.*=skip", EXACT, cpu),
        Scheme("gptq-mixed", f"{GPTQ4} --override model.layers.0.*=rtn:bits=8:group_size=32", EXACT,
               consumers.gptqmodel),
        Scheme("hqq-int4", f"{HQQ} --bits 4 --group-size 64 --samples 16", EXACT),
        Scheme("hqq-int3-mixed",
               f"{HQQ} --bits 3 --group-size 64 --option weighted=false "
               "--override model.layers.2.*=hqq:bits=8:group_size=128 "
               "--override model.layers.3.mlp.up_proj=skip", EXACT),
        Scheme("hqq-int2-axis-0",
               f"{HQQ} --bits 2 --group-size 32 --option weighted=false --option axis=0", EXACT),
        Scheme("hqq-int1", f"{HQQ} --bits 1 --group-size 16 --samples 16", EXACT),
        Scheme("dequantized-int3", "--format dequantized --method rtn --bits 3", WIDENED),
    ]


def family_schemes(family):
    """Each format once: names, biases and tied heads of another family."""
    rows = [
        ("ct-int4", "--method rtn --bits 4 --group-size 128 --symmetric", EXACT,
         consumers.transformers_default),
        ("ct-w8a8", "--method int8", SAME_SCALES, consumers.divisor_127),
        ("awq", "--format awq --method rtn --bits 4 --group-size 128 --asymmetric", EXACT,
         consumers.awq_unpacked),
        ("awq-gptqmodel", "--format awq --method rtn --bits 4 --group-size 128 --asymmetric", HALF,
         consumers.gptqmodel),
        ("gptq-int4", f"{GPTQ4} --symmetric", EXACT, consumers.transformers_cpu),
        ("hqq-int4", f"{HQQ} --bits 4 --group-size 64 --option weighted=false", EXACT,
         consumers.transformers_default),
        ("dequantized-int4", "--format dequantized --method rtn --bits 4", WIDENED,
         consumers.transformers_default),
    ]
    return [Scheme(f"{family}-{name}", flags, limits, load, family, windows=4)
            for name, flags, limits, load in rows]


SCHEMES = (compressed_tensors_schemes() + books_schemes() + family_schemes("qwen2")
           + family_schemes("qwen3"))
