"""Loads what quantd writes with the libraries that users serve with and compares the evaluations.

For each scheme: `quantd-worker quantize` writes an artifact, its report and its logits of a few
windows; the libraries load the artifact on CPU in float32 and evaluate the same windows. Compared:
logits (largest difference), perplexity of the original and of the quantized model, mean KL, top-1
agreement. Schemes and tolerances: schemes.py and README.md; who loads: consumers.py.
"""

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # GPTQModel would compile each model anew
warnings.simplefilter("ignore")

import torch  # noqa: E402  (the environment is set first)
from safetensors.torch import load_file  # noqa: E402

import consumers  # noqa: E402
import protocol  # noqa: E402
import schemes  # noqa: E402
import tiny_models  # noqa: E402

TOKENS, LOGITS_WINDOWS = 512, 4


def quantize(arguments, scheme, model):
    """Runs the engine; returns (artifact folder, its report)."""
    folder = os.path.join(arguments.out, scheme.name)
    shutil.rmtree(folder, ignore_errors=True)
    command = [arguments.worker, "quantize", model, "--out", folder, *scheme.flags.split(),
               "--evaluation", f"{model}/evaluation.txt", "--eval-windows", str(scheme.windows),
               "--seq-len", str(TOKENS), "--logits-windows", str(LOGITS_WINDOWS),
               "--compute", "f32", "--json"]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return folder, json.loads(printed)


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
        here = schemes.EXACT if key == "perplexity_original" else limits
        rows.append((key, ours[key], found[key], ratio, here["perplexity"]))
    rows.append(("kl_mean", ours["kl_mean"], found["kl_mean"],
                 abs(found["kl_mean"] / ours["kl_mean"] - 1), limits["kl"]))
    rows.append(("top1_agreement", ours["top1_agreement"], found["top1_agreement"],
                 abs(found["top1_agreement"] - ours["top1_agreement"]), limits["top1"]))
    return rows


class Models:
    """Where the models are, their windows, and what the original makes of them."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.known = {}

    def get(self, name):
        """(folder, windows, logits of the original)."""
        if name not in self.known:
            books = self.arguments.model
            folder = books
            if name != schemes.BOOKS:
                folder = tiny_models.make(name, books, self.arguments.out)
            most = max(scheme.windows for scheme in schemes.SCHEMES if scheme.model == name)
            windows = protocol.cut_windows(folder, f"{folder}/evaluation.txt", TOKENS, most)
            original = consumers.load(folder, consumers.transformers_default)
            self.known[name] = folder, windows, protocol.logits_of(original, windows)
        return self.known[name]


def check(arguments, models, scheme):
    """Whether one scheme agrees; prints its rows."""
    name, limits = scheme.name, scheme.limits
    model, windows, original = models.get(scheme.model)
    windows, original = windows[:scheme.windows], original[:scheme.windows]
    folder, report = quantize(arguments, scheme, model)
    quantized = protocol.logits_of(consumers.load(folder, scheme.load), windows)
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
        figures = f"quantd {ours:.6f}  library {theirs:.6f}  " if ours != "" else ""
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
    parser.add_argument("--only", help="schemes whose name matches this glob")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    models = Models(arguments)
    verdicts = {scheme.name: check(arguments, models, scheme) for scheme in schemes.SCHEMES
                if arguments.only is None or fnmatch.fnmatch(scheme.name, arguments.only)}
    if arguments.only is None:
        verdicts["layout"] = check_layout(arguments)
    write_junit(os.path.join(arguments.out, "junit.xml"), verdicts)
    failed = list(verdicts.values()).count(False)
    print(f"{len(verdicts) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
