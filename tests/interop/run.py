"""Loads what quantd writes with the libraries that users serve with and compares the evaluations.

For each scheme: `quantd-worker quantize` writes an artifact, its report and its logits of a few
windows; the libraries load the artifact on CPU in float32 and evaluate the same windows. Compared:
logits (largest difference), perplexity of the original and of the quantized model, mean KL, top-1
agreement. Schemes and tolerances: schemes.py and README.md; who loads: consumers.py, with --older
consumers_older.py, by libraries of a year ago.
"""

import argparse
import fnmatch
import os
import subprocess
import sys
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # GPTQModel would compile each model anew
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # 7.7 dies with its own choice on two cores
warnings.simplefilter("ignore")

import torch  # noqa: E402  (the environment is set first)
from safetensors.torch import load_file  # noqa: E402

import artifact  # noqa: E402
import comparison  # noqa: E402
import junit  # noqa: E402
import protocol  # noqa: E402
import schemes  # noqa: E402
import tiny_models  # noqa: E402

LOGITS_WINDOWS = 4


class Models:
    """Where the models are, their windows, and what the original makes of them."""

    def __init__(self, arguments, consumers):
        self.arguments = arguments
        self.consumers = consumers
        self.known = {}

    def get(self, name):
        """(folder, windows, logits of the original)."""
        if name not in self.known:
            books = self.arguments.model
            folder = books
            if name != schemes.BOOKS:
                folder = tiny_models.make(name, books, self.arguments.out)
            most = max(scheme.windows for scheme in schemes.SCHEMES if scheme.model == name)
            windows = protocol.cut_windows(folder, f"{folder}/evaluation.txt", artifact.TOKENS,
                                           most)
            original = self.consumers.load(folder, self.consumers.transformers_default)
            self.known[name] = folder, windows, protocol.logits_of(original, windows)
        return self.known[name]


def check(arguments, models, scheme, reading):
    """Whether one scheme agrees; prints its rows."""
    name, limits = scheme.name, reading.limits
    model, windows, original = models.get(scheme.model)
    windows, original = windows[:scheme.windows], original[:scheme.windows]
    folder = os.path.join(arguments.out, name)
    report = artifact.quantize(arguments.worker, model, folder, scheme.flags, scheme.windows,
                               LOGITS_WINDOWS)
    consumers = models.consumers
    loaded = consumers.load(folder, getattr(consumers, reading.load))
    quantized = protocol.logits_of(loaded, windows)
    found = protocol.scores(windows, original, quantized)
    own = load_file(f"{folder}/quantd/logits.safetensors")
    if not torch.equal(own["ids"].long(), windows[:LOGITS_WINDOWS]):
        print(f"{name}: the evaluation windows differ")
        return False
    distances = comparison.logit_distances(own, quantized[:LOGITS_WINDOWS])
    spread = (original - quantized).abs().max().item()
    print(f"{name} ({found['tokens']} tokens; quantization moves a logit by up to {spread:.3f})")
    passed = report["evaluation"]["tokens"] == found["tokens"]
    for what, ours, theirs, distance, limit in comparison.rows(report, found, limits,
                                                                  distances):
        verdict = "ok" if distance <= limit else "WRONG"
        passed = passed and distance <= limit
        figures = f"quantd {ours:.6f}  library {theirs:.6f}  " if ours != "" else ""
        print(f"  {verdict:5} {what:24} {figures}difference {distance:.2e}, at most {limit:.0e}",
              flush=True)
    return passed


def verdict_of(arguments, models, scheme, reading):
    """The same; a library that stops is a failure of its row, not of those behind it."""
    try:
        return check(arguments, models, scheme, reading)
    except (AssertionError, AttributeError, ImportError, KeyError, RuntimeError, TypeError,
            ValueError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        print(f"{scheme.name}\n  WRONG {type(error).__name__}: {said.strip()[:600]}", flush=True)
        return False


def check_layout(arguments):
    """The packed bytes against the library's own packing."""
    script = os.path.join(os.path.dirname(__file__), "check_ct_layout.py")
    folder = os.path.join(arguments.out, "rtn-int4-g128-asym")
    command = [sys.executable, script, folder, arguments.model]
    return subprocess.run(command, check=False).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", help="schemes whose name matches this glob")
    parser.add_argument("--older", action="store_true", help="libraries of a year ago")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    if arguments.older:
        import consumers_older as consumers
    else:
        import consumers
    models, verdicts = Models(arguments, consumers), {}
    for scheme in schemes.SCHEMES:
        reading = scheme.older if arguments.older else scheme.current
        if reading is None or not fnmatch.fnmatch(scheme.name, arguments.only or "*"):
            continue
        verdicts[scheme.name] = verdict_of(arguments, models, scheme, reading)
    if arguments.only is None:
        verdicts["layout"] = check_layout(arguments)
    junit.write(os.path.join(arguments.out, "junit.xml"), "interop", verdicts)
    failed = list(verdicts.values()).count(False)
    print(f"{len(verdicts) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
