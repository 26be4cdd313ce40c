"""quantd's rows: recipes as flags of `quantd-worker quantize`, by storage class.

The defaults of every method, what each part of it brings, and settings that do what a peer does.
"""

from rows import SAMPLES, STORAGES, Row, group_options

# label, flags, windows of calibration; None: the row's default. The class gives bits and group.
WEIGHTS = [
    ("rtn, asymmetric", "--method rtn --asymmetric", 0),
    ("rtn weighted, asymmetric", "--method rtn --asymmetric --scale-rule weighted-mse", SAMPLES),
    ("awq", "--method awq", SAMPLES),
    ("gptq", "--method gptq --symmetric", SAMPLES),
    ("gptq, asymmetric", "--method gptq --asymmetric", SAMPLES),
    ("gptq hessian, asymmetric", "--method gptq --asymmetric --scale-rule hessian", SAMPLES),
    ("gptq as GPTQModel", "--method gptq --symmetric --option reference=true "
     "--option damping=0.05", SAMPLES),
    ("gptq as llm-compressor", "--method gptq --symmetric --option reference=true "
     "--option act_order=static", SAMPLES),
    ("awq+gptq, asymmetric", "--method awq+gptq --asymmetric", SAMPLES),
    ("awq+gptq", "--method awq+gptq --symmetric", SAMPLES),
    ("hqq", "--method hqq", SAMPLES),
    ("hqq+gptq", "--method hqq+gptq", SAMPLES),
    ("hqq as the reference", "--method hqq --option weighted=false "
     "--option solver=half-quadratic", 0),
]
AWQ_AS_AUTOAWQ = ("awq as AutoAWQ", "--method awq --option reference=true", SAMPLES)

INT8 = [
    ("w8a8", "int8", "--method int8", 0),
    ("w8a8", "int8, static", "--method int8 --activations static", SAMPLES),
    ("w8a8-smooth", "smoothquant 0.8", "--method smoothquant", SAMPLES),
    ("w8a8-smooth", "smoothquant 0.5", "--method smoothquant --option alpha=0.5", SAMPLES),
    ("w8a8-smooth", "smoothquant, alpha searched",
     "--method smoothquant --option alpha_search=true", SAMPLES),
    ("w8a8-smooth", "smoothquant all, alpha searched",
     "--method smoothquant --option alpha_search=true --option smooth_all=true", SAMPLES),
]

DATA = [("w4g128-16", {"samples": 16}), ("w4g128-wiki", {"text": "wikitext"})]


def weight_row(storage, recipe, more):
    label, flags, samples = recipe
    size = group_options(storage)
    flags = [*flags.split(), "--bits", str(size["bits"]), "--group-size", str(size["group"]),
             "--format", "dequantized"]
    return Row(storage, f"quantd {label}", "quantd", {"flags": flags},
               **({"samples": samples} | more))


def all_rows():
    storages = [key for key in STORAGES if "g" in key[1:] and key[0] == "w" and "-" not in key]
    made = [weight_row(storage, recipe, {}) for storage in storages for recipe in WEIGHTS]
    made.append(weight_row("w4g128", AWQ_AS_AUTOAWQ, {}))
    made += [Row(storage, f"quantd {label}", "quantd", {"flags": flags.split()}, samples)
             for storage, label, flags, samples in INT8]
    for storage, more in DATA:
        made += [weight_row(storage, recipe, more) for recipe in WEIGHTS
                 if recipe[0] in ("awq", "gptq", "awq+gptq, asymmetric")]
    return made
