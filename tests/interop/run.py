"""Loads what quantd writes with transformers + compressed-tensors and compares the evaluations.

For each scheme: `quantd-worker quantize` writes an artifact, its report and its logits of a few
windows; the libraries load the artifact on CPU in float32 and evaluate the same windows. Compared:
logits (largest difference), perplexity of the original and of the quantized model, mean KL, top-1
agreement. Tolerances: the tables below and README.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
warnings.simplefilter("ignore")

import torch  # noqa: E402  (the environment is set first)
from compressed_tensors.quantization import disable_quantization  # noqa: E402
from compressed_tensors.quantization.lifecycle import forward  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.utils.quantization_config import CompressedTensorsConfig  # noqa: E402

import protocol  # noqa: E402

WINDOWS, TOKENS, LOGITS_WINDOWS = 32, 512, 4

# Weight-only schemes dequantize to the same numbers on both sides, so only the order of float32
# sums differs. W8A8 differs by one more thing: compressed-tensors scales a token by absmax / 127.5,
# quantd by absmax / 127, as the integer kernels of serving engines do. So its activations round
# differently, and logits differ by less than quantization moves them but not by much less. With the
# library's divisor set to 127 both sides are the same, until some activation lies so close to a tie
# that the order of sums decides; at the start of a window that has not happened yet.
#   largest: of all logit differences; early: the median over the first 8 positions of the largest;
#   rms: root mean square of the differences, to that of what quantization does to the logits.
EXACT = {"largest": 2e-4, "perplexity": 1e-5, "kl": 1e-3, "top1": 2e-4}
SAME_SCALES = {"early": 2e-4, "rms": 0.6, "perplexity": 1e-3, "kl": 1e-2, "top1": 3e-3}
ROUNDING = {"rms": 0.9, "perplexity": 1e-2, "kl": 2e-2, "top1": 5e-3}

# name, flags of quantd-worker quantize, tolerances, how the model is loaded
SCHEMES = [
    ("rtn-int4-g128-sym", "--method rtn --bits 4 --group-size 128 --symmetric", EXACT,
     "compressed"),
    ("rtn-int4-g128-asym", "--method rtn --bits 4 --group-size 128 --asymmetric", EXACT,
     "decompressed"),
    ("rtn-int4-g32-absmax", "--method rtn --bits 4 --group-size 32 --scale-rule absmax", EXACT,
     "compressed"),
    ("rtn-int8-g128", "--method rtn --bits 8 --group-size 128", EXACT, "compressed"),
    ("int8-w8a16", "--method int8 --activations none", EXACT, "compressed"),
    ("int8-w8a8", "--method int8", ROUNDING, "compressed"),
    ("int8-w8a8-divisor-127", "--method int8", SAME_SCALES, "divisor 127"),
    ("smoothquant", "--method smoothquant", ROUNDING, "compressed"),
    ("int8-static", "--method int8 --activations static", SAME_SCALES, "compressed"),
    ("int8-static-asym",
     "--method int8 --activations static --option activation_symmetric=false", SAME_SCALES,
     "compressed"),
    ("smoothquant-static", "--method smoothquant --activations static", SAME_SCALES,
     "compressed"),
]


def quantize(arguments, name, flags):
    """Runs the engine; returns (artifact folder, its report)."""
    folder = os.path.join(arguments.out, name)
    shutil.rmtree(folder, ignore_errors=True)
    command = [arguments.worker, "quantize", arguments.model, "--out", folder, *flags.split(),
               "--evaluation", f"{arguments.model}/evaluation.txt", "--eval-windows", str(WINDOWS),
               "--seq-len", str(TOKENS), "--logits-windows", str(LOGITS_WINDOWS),
               "--compute", "f32", "--json"]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return folder, json.loads(printed)


LIBRARY_SCALES = forward.compute_dynamic_scales_and_zp


def scales_by_127(*arguments, **keywords):
    scale, zero_point = LIBRARY_SCALES(*arguments, **keywords)
    return scale * (127.5 / 127), zero_point


def load(folder, how):
    """The artifact as a user loads it.

    "decompressed" is the way around two faults of compressed-tensors 0.13.0 with asymmetric packed
    weights; README.md describes them. "divisor 127" gives dynamic activations quantd's scales.
    """
    more = {}
    forward.compute_dynamic_scales_and_zp = (
        scales_by_127 if how == "divisor 127" else LIBRARY_SCALES)
    if how == "decompressed":
        more["quantization_config"] = CompressedTensorsConfig(run_compressed=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more)
    if how == "decompressed":
        model.apply(disable_quantization)
    return model.eval()


def logit_distances(own, theirs):
    """{name: distance} between our logits and theirs, [windows, tokens, vocabulary] each."""
    difference = own["quantized"] - theirs
    quantization = own["quantized"] - own["original"]
    return {"largest": difference.abs().max().item(),
            "early": difference[:, :8].abs().amax(-1).median().item(),
            "rms": (difference.pow(2).mean() / quantization.pow(2).mean()).sqrt().item()}


def compare(report, found, limits, distances):
    """[(what, ours, theirs, difference, limit)]."""
    ours = report["evaluation"]
    rows = [(f"logits, {name}", "", "", distance, limits[name])
            for name, distance in distances.items() if name in limits]
    for key in ("perplexity_original", "perplexity_quantized"):
        ratio = abs(found[key] / ours[key] - 1)
        limit = EXACT["perplexity"] if key == "perplexity_original" else limits["perplexity"]
        rows.append((key, ours[key], found[key], ratio, limit))
    rows.append(("kl_mean", ours["kl_mean"], found["kl_mean"],
                 abs(found["kl_mean"] / ours["kl_mean"] - 1), limits["kl"]))
    rows.append(("top1_agreement", ours["top1_agreement"], found["top1_agreement"],
                 abs(found["top1_agreement"] - ours["top1_agreement"]), limits["top1"]))
    return rows


def check(arguments, windows, original, scheme):
    """Whether one scheme agrees; prints its rows."""
    name, flags, limits, how = scheme
    folder, report = quantize(arguments, name, flags)
    quantized = protocol.logits_of(load(folder, how), windows)
    found = protocol.scores(windows, original, quantized)
    own = load_file(f"{folder}/quantd/logits.safetensors")
    if not torch.equal(own["ids"].long(), windows[:LOGITS_WINDOWS]):
        print(f"{name}: the evaluation windows differ")
        return False
    distances = logit_distances(own, quantized[:LOGITS_WINDOWS])
    spread = (original - quantized).abs().max().item()
    print(f"{name} ({found['tokens']} tokens; quantization moves a logit by up to {spread:.3f})")
    passed = report["evaluation"]["tokens"] == found["tokens"]
    for what, ours, theirs, distance, limit in compare(report, found, limits, distances):
        verdict = "ok" if distance <= limit else "WRONG"
        passed = passed and distance <= limit
        figures = f"quantd {ours:.6f}  transformers {theirs:.6f}  " if ours != "" else ""
        print(f"  {verdict:5} {what:24} {figures}difference {distance:.2e}, at most {limit:.0e}")
    return passed


def check_layout(arguments):
    """The packed bytes against the library's own packing."""
    script = os.path.join(os.path.dirname(__file__), "check_ct_layout.py")
    folder = os.path.join(arguments.out, "rtn-int4-g128-asym")
    command = [sys.executable, script, folder, arguments.model]
    return subprocess.run(command, check=False).returncode == 0


def write_junit(path, verdicts):
    suite = ElementTree.Element("testsuite", name="interop")
    for name, passed in verdicts.items():
        case = ElementTree.SubElement(suite, "testcase", name=name)
        if not passed:
            ElementTree.SubElement(case, "failure", message="see the output")
    ElementTree.ElementTree(suite).write(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", help="the scheme of that name")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    windows = protocol.cut_windows(arguments.model, f"{arguments.model}/evaluation.txt", TOKENS,
                                   WINDOWS)
    original = protocol.logits_of(load(arguments.model, "plain"), windows)
    verdicts = {scheme[0]: check(arguments, windows, original, scheme) for scheme in SCHEMES
                if arguments.only in (None, scheme[0])}
    if arguments.only is None:
        verdicts["layout"] = check_layout(arguments)
    write_junit(os.path.join(arguments.out, "junit.xml"), verdicts)
    failed = list(verdicts.values()).count(False)
    print(f"{len(verdicts) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
