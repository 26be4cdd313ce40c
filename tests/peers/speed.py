"""Time and memory on layers of TinyLlama's shape (2048 / 5632), one tool after the other.

Each row is measured once in one run, on the same threads; nothing else should run. Time of a peer
is what quantizing takes, without loading the model and writing it; quantd's is its whole process,
reading and writing included. On a machine that is not quiet only the CPU seconds mean something.
"""

import os
import subprocess

import rows
from comparison import ROOT, Comparison, write_json

# Without a text, as the peer has none, and in the peer's own format.
HQQ = ["--method", "hqq", "--group-size", "64", "--option", "weighted=false", "--format", "hqq"]
# class: (title, quantd's flags, calibration windows)
CLASSES = {
    "awq": ("AWQ 4 bits g128, 8,192 tokens", ["--method", "awq", "--group-size", "128"], 16),
    "gptq": ("GPTQ 4 bits g128, 16,384 tokens", ["--method", "gptq", "--group-size", "128"], 32),
    "hqq": ("HQQ 4 bits g64", HQQ, 0),
    "rtn": ("Round to nearest 4 bits g128", ["--method", "rtn", "--group-size", "128",
                                             "--scale-rule", "absmax"], 0),
    "smooth": ("SmoothQuant W8A8, 16,384 tokens", ["--method", "smoothquant"], 32),
}
# class, label, tool, options
PEERS = [
    ("awq", "AutoAWQ, fixed", "autoawq", {}),
    ("awq", "llm-compressor AWQ", "llm-compressor",
     {"method": "awq", "symmetric": False, "batch": 1}),
    ("gptq", "GPTQModel", "gptqmodel", {"batch": 1}),
    ("gptq", "llm-compressor GPTQ", "llm-compressor", {"method": "gptq", "batch": 1}),
    ("hqq", "hqq", "hqq", {"group": 64, "dtype": "float32"}),
    ("hqq", "llama.cpp Q4_K_M", "llama.cpp", {"type": "Q4_K_M"}),
    ("rtn", "llm-compressor RTN", "llm-compressor", {"method": "rtn"}),
    ("smooth", "llm-compressor SmoothQuant 0.8", "llm-compressor",
     {"method": "smoothquant", "batch": 1}),
]


def all_rows():
    made = []
    for key, (_, flags, samples) in CLASSES.items():
        made.append(rows.Row(key, "quantd", "quantd", {"flags": flags}, samples))
        made += [rows.Row(key, label, tool, options, samples)
                 for storage, label, tool, options in PEERS if storage == key]
    return made


class Timing(Comparison):
    def evaluation_flags(self):
        return ["--no-evaluation"]

    def check_quantd(self, row, printed):
        return {}


def checkpoint(arguments, python):
    """Makes the model, in the environment that has numpy, and reads it once: a warm page cache."""
    folder = f"{arguments.out}/speed/checkpoint-{arguments.layers}"
    subprocess.run([python, f"{ROOT}/tests/bench/make_checkpoint.py", folder, "--layers",
                    str(arguments.layers)], check=True)
    subprocess.run(["cat", f"{folder}/model.safetensors"], check=True, stdout=subprocess.DEVNULL)
    return folder


def seconds_of(run, row):
    return run["wall_seconds"] if row.tool == "quantd" else run["quantize_seconds"]


def measure(arguments, wanted):
    """Runs the rows and returns the table."""
    python = os.path.join(arguments.environments, "others", "bin", "python")
    comparison = Timing(arguments, "speed", checkpoint(arguments, python), "bfloat16")
    measured = {}
    for row in wanted:
        if arguments.windows and row.samples:
            row = rows.dataclasses.replace(row, samples=arguments.windows)
        if not comparison.able(row):
            continue
        comparison.quantize(row)
        run = comparison.result(row)["run"]
        if "error" not in run:
            measured[row.name] = (row, run)
    write_json(f"{arguments.out}/speed.json", {name: run for name, (_, run) in measured.items()})
    return table(arguments, measured)


COLUMNS = ["", "seconds a layer", "whole process", "CPU seconds", "peak MiB",
           "quantizing to quantd", "its CPU to quantd", "process to quantd", "memory to quantd",
           "load before"]


def table(arguments, measured):
    lines = [f"{arguments.threads} threads, {arguments.layers} layer(s) of 2048 / 5632 and "
             "embeddings of 32,000 tokens", ""]
    for key, (title, _, _) in CLASSES.items():
        some = [(row, run) for row, run in measured.values() if row.storage == key]
        if not some:
            continue
        own = next((run for row, run in some if row.tool == "quantd"), None)
        lines += [f"### {title}", "", "| " + " | ".join(COLUMNS) + " |",
                  "|---" * len(COLUMNS) + "|"]
        for row, run in some:
            seconds = seconds_of(run, row)
            cells = [row.label, f"{seconds / arguments.layers:.2f}", f"{run['wall_seconds']:.2f}",
                     f"{run['cpu_seconds']:.1f}", f"{run['peak_mib']:.0f}"]
            cpu = run.get("quantize_cpu_seconds", run["cpu_seconds"])
            cells += [""] * 4 if own is None else [
                f"{seconds / own['wall_seconds']:.1f}",
                f"{cpu / own['cpu_seconds']:.1f}",
                f"{run['wall_seconds'] / own['wall_seconds']:.1f}",
                f"{run['peak_mib'] / own['peak_mib']:.1f}"]
            lines.append("| " + " | ".join([*cells, f"{run['load_before']:.1f}"]) + " |")
        lines.append("")
    return "\n".join(lines)
