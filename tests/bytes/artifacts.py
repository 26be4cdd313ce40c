"""Digests of the artifacts of every case, with one thread and with two, and of two builds.

    artifacts.py --worker W [--before W2] [--only GLOB] --out FOLDER

Digested is every file that is written but those that tell time and memory (report, its page, the
model card, the manifest that lists their digests). Exit 1 if threads or builds differ.
"""

import argparse
import fnmatch
import hashlib
import os
import shutil
import subprocess
import sys

import cases

TELL_TIME = {"README.md", "quantd/report.json", "quantd/report.html", "quantd/manifest.json"}


def digest(folder):
    """sha256 over the names and bytes of all files of an artifact."""
    total = hashlib.sha256()
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(root, name)
            relative = os.path.relpath(path, folder)
            if relative in TELL_TIME:
                continue
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{relative} {content}\n".encode())
    return total.hexdigest()


def quantized(worker, case, folder, threads):
    out = os.path.join(folder, "artifact")
    shutil.rmtree(out, ignore_errors=True)
    run = subprocess.run(cases.command(worker, case, folder, out, threads), text=True, check=False,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if run.returncode != 0:
        return f"exit {run.returncode}: {run.stderr.strip().splitlines()[-1:]}"
    return digest(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worker", required=True, help="quantd-worker")
    parser.add_argument("--before", help="quantd-worker of the build to compare with")
    parser.add_argument("--only", default="*", help="cases whose name matches")
    parser.add_argument("--out", required=True, help="scratch folder")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    runs = [(arguments.worker, 1), (arguments.worker, 2)]
    if arguments.before:
        runs.append((arguments.before, 2))
    passed = failed = 0
    for case in cases.CASES:
        if not fnmatch.fnmatchcase(case.name, arguments.only):
            continue
        digests = [quantized(worker, case, arguments.out, threads) for worker, threads in runs]
        same = len(set(digests)) == 1 and not digests[0].startswith("exit")
        passed, failed = passed + same, failed + (not same)
        print(f"{'same' if same else 'DIFFER':7} {case.name:28} {digests[0][:16]}", flush=True)
        if not same:
            print("        " + "\n        ".join(digests), flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
