"""What is written for vLLM: the recipes, the models, and how near its logits must be."""

from dataclasses import dataclass

from schemes import BOOKS, EXACT, SAME_SCALES, WIDENED

@dataclass(frozen=True)
class Scheme:
    name: str
    flags: str  # of quantd-worker quantize, without --loader
    limits: dict | None = None
    model: str = BOOKS
    refused: str = ""  # what vLLM says; --loader vllm must refuse the recipe too


RTN4 = "--method rtn --bits 4 --group-size 128"
MIXED = "--override model.layers.0.*=rtn:bits=8:group_size="
SKIP = "--override model.layers.1.mlp.*=skip"


def compressed_tensors():
    rows = {
        "int4-g128-sym": f"{RTN4} --symmetric",
        "int4-g128-asym": f"{RTN4} --asymmetric",
        "int4-g64": "--method rtn --bits 4 --group-size 64 --symmetric",
        "int4-g32-absmax": "--method rtn --bits 4 --group-size 32 --symmetric --scale-rule absmax",
        "int4-channel": "--method rtn --bits 4 --granularity channel --symmetric",
        "int4-channel-asym": "--method rtn --bits 4 --granularity channel --asymmetric",
        "int4-awq-asym": "--method awq --bits 4 --group-size 128 --asymmetric --samples 16",
        "int4-gptq": "--method gptq --bits 4 --group-size 128 --symmetric --samples 16",
        "int4-skipped": f"{RTN4} --symmetric {SKIP}",
        "int8-g128": "--method rtn --bits 8 --group-size 128 --symmetric",
        "int8-g128-asym": "--method rtn --bits 8 --group-size 128 --asymmetric",
        "int8-channel": "--method int8 --activations none",
        "mixed-4-8": f"{RTN4} --symmetric {MIXED}32",
    }
    for bits in (2, 3, 5, 6, 7):
        rows[f"int{bits}-g64"] = f"--method rtn --bits {bits} --group-size 64 --symmetric"
    rows["int3-g64-asym"] = "--method rtn --bits 3 --group-size 64 --asymmetric"
    for bits in (2, 5, 6, 7):
        rows[f"int{bits}-g64-asym"] = f"--method rtn --bits {bits} --group-size 64 --asymmetric"
    schemes = [Scheme(f"ct-{name}", flags, EXACT) for name, flags in rows.items()]
    inputs = {
        "w8a8": "--method int8",
        "w8a8-static": "--method int8 --activations static",
        "w8a8-static-asym": "--method int8 --activations static "
                            "--option activation_symmetric=false",
        "smoothquant": "--method smoothquant",
        "smoothquant-static": "--method smoothquant --activations static",
    }
    return schemes + [Scheme(f"ct-{name}", flags, SAME_SCALES) for name, flags in inputs.items()]


def floating():
    """mxfp8 is vLLM's own emulation, which rounds nothing that was not bfloat16 already."""
    return [Scheme(f"ct-{name}", f"--method rtn --number-format {name}", EXACT)
            for name in ("fp8-e4m3", "fp8-block", "nvfp4", "mxfp4", "mxfp8")]


def awq():
    rows = {
        "g128-asym": "--method awq --bits 4 --group-size 128 --samples 16",
        "g128-sym": f"{RTN4} --symmetric",
        "channel": "--method rtn --bits 4 --granularity channel --symmetric",
        "skipped": f"{RTN4} {SKIP}",
    }
    return [Scheme(f"awq-{name}", f"--format awq {flags}", EXACT) for name, flags in rows.items()]


def gptq():
    rows = {
        "int4": "--method gptq --bits 4 --symmetric --samples 16",
        "int8": "--method gptq --bits 8 --symmetric --samples 16",
        "int4-channel": "--method rtn --bits 4 --granularity channel --symmetric",
        "int4-skipped": f"{RTN4} --symmetric {SKIP}",
        "mixed-4-8": f"{RTN4} --symmetric {MIXED}32",
    }
    refused = {
        "desc-act": ("--method gptq --bits 4 --symmetric --samples 16 "
                     "--option act_order=desc-act", "desc_act"),
        "int4-asym": ("--method gptq --bits 4 --asymmetric --samples 16", "Unsupported"),
        "int3": ("--method rtn --bits 3 --group-size 64 --symmetric", "Unsupported"),
        "int2": ("--method rtn --bits 2 --group-size 32 --symmetric", "Unsupported"),
    }
    return ([Scheme(f"gptq-{name}", f"--format gptq {flags}", EXACT)
             for name, flags in rows.items()] +
            [Scheme(f"gptq-{name}", f"--format gptq {flags}", refused=said)
             for name, (flags, said) in refused.items()])


def others():
    return [Scheme("hqq-int4", "--format hqq --method hqq --bits 4 --group-size 64 --samples 16",
                   refused="hqq"),
            Scheme("dequantized-int3", "--format dequantized --method rtn --bits 3",
                   WIDENED)]


def tiny(family):
    """Each layout once: names, biases, norms of q and k, rope, tied heads of other families."""
    rows = [
        ("ct-int4", f"{RTN4} --symmetric", EXACT),
        ("ct-int4-asym", f"{RTN4} --asymmetric", EXACT),
        ("ct-w8a8", "--method int8", SAME_SCALES),
        ("awq", f"--format awq {RTN4} --asymmetric", EXACT),
        ("gptq-int4", f"--format gptq {RTN4} --symmetric", EXACT),
        ("gptq-mixed", f"--format gptq {RTN4} --symmetric {MIXED}128", EXACT),
    ]
    return [Scheme(f"{family}-{name}", flags, limits, family) for name, flags, limits in rows]


def narrow():
    """No multiples of 128: groups of 64, which vLLM's kernels fill up."""
    rtn = "--method rtn --bits 4 --group-size 64"
    rows = {"ct-int4": f"{rtn} --symmetric", "awq": f"--format awq {rtn} --asymmetric",
            "gptq-int4": f"--format gptq {rtn} --symmetric"}
    return [Scheme(f"smollm2-shapes-{name}", flags, EXACT, "smollm2-shapes")
            for name, flags in rows.items()]


SCHEMES = (compressed_tensors() + floating() + awq() + gptq() + others() + narrow() +
           [scheme for family in ("qwen2", "qwen3", "llama3-rope") for scheme in tiny(family)])
