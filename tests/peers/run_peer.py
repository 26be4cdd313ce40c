"""Runs one peer once, inside the environment that has it.

    python run_peer.py JOB.json

JOB.json: {tool, model, windows, out, result, threads, dtype, options}; `windows` is a file that
windows.py wrote. What the tool makes goes into the folder `out`, its times into the file `result`.
The times are of quantizing alone; loading and writing are in what compare.py measures of the
whole process.
"""

import importlib
import json
import os
import resource
import shutil
import sys
import time

import windows

MODULES = {"autoawq": "tools_autoawq", "gptqmodel": "tools_gptqmodel", "hqq": "tools_hqq",
           "llm-compressor": "tools_llmcompressor", "autoround": "tools_autoround",
           "llama.cpp": "tools_llamacpp"}


def cpu_seconds():
    """Of this process, its threads and the children it has waited for."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Clock:
    """Times what runs inside `with job.clock:`."""

    wall = cpu = 0.0

    def __enter__(self):
        self.started = time.monotonic(), cpu_seconds()

    def __exit__(self, *failure):
        self.wall += time.monotonic() - self.started[0]
        self.cpu += cpu_seconds() - self.started[1]


class Job:
    def __init__(self, fields):
        self.model, self.out = fields["model"], fields["out"]
        self.threads, self.dtype = fields["threads"], fields["dtype"]
        self.options = fields["options"]
        self.windows = windows.load(fields["windows"])["ids"] if fields["windows"] else []
        self.clock = Clock()
        self.measured = {}  # what a tool measures better than compare.py from outside

    def option(self, name, default=None):
        return self.options.get(name, default)

    def torch_dtype(self):
        import torch
        return getattr(torch, self.dtype)

    def load(self):
        """The model with transformers. The name of the argument changed between its versions."""
        import torch
        from transformers import AutoModelForCausalLM
        torch.set_num_threads(self.threads)
        try:
            model = AutoModelForCausalLM.from_pretrained(self.model, dtype=self.torch_dtype())
        except TypeError:
            model = AutoModelForCausalLM.from_pretrained(self.model,
                                                         torch_dtype=self.torch_dtype())
        return model.eval()

    def tokenizer(self):
        from transformers import AutoTokenizer
        return AutoTokenizer.from_pretrained(self.model)

    def samples(self):
        """The windows as most tools want them: tensors of ids and a mask of ones."""
        import torch
        return [{"input_ids": torch.tensor([ids]),
                 "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
                for ids in self.windows]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        fields = json.load(file)
    shutil.rmtree(fields["out"], ignore_errors=True)
    os.makedirs(fields["out"])
    job = Job(fields)
    importlib.import_module(MODULES[fields["tool"]]).run(job)
    with open(fields["result"], "w", encoding="utf-8") as file:
        json.dump({"quantize_seconds": job.clock.wall, "quantize_cpu_seconds": job.clock.cpu,
                   **job.measured}, file)
    sys.stdout.flush()
    os._exit(0)  # some tools leave threads behind that never end


if __name__ == "__main__":
    main()
