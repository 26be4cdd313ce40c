"""One model, its windows, and what every tool made of it."""

import hashlib
import json
import os
import shutil
import sys

import environments
import process
import rows

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
BUNDLED = f"{ROOT}/models/books-3m"
SHARED = os.environ.get("QUANTD_SHARED_DATA") or f"{ROOT}/../shared/data"
TEXTS = {"calibration": f"{BUNDLED}/calibration.txt", "evaluation": f"{BUNDLED}/evaluation.txt",
         "wikitext": f"{SHARED}/text/wikitext-2/wiki.valid.tokens"}
BUILTIN = {"calibration", "evaluation"}
EVALUATION_WINDOWS, FEWER_WINDOWS = 64, 24


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
    os.replace(f"{path}.part", path)


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Comparison:
    """One model, its windows and its results. Tools load it as `dtype`."""

    def __init__(self, arguments, name, model, dtype="float32"):
        self.arguments, self.name, self.model, self.dtype = arguments, name, model, dtype
        self.folder = os.path.abspath(os.path.join(arguments.out, name))
        self.settings = environments.settings(arguments.threads)
        self.python = environments.python_of(arguments.environments, "others")
        self.weights = file_digest(f"{model}/model.safetensors")
        worker = arguments.worker
        self.program = file_digest(worker) if os.path.exists(worker) else None

    def windows(self, text, count):
        """The file of the windows, cut once for everybody. Both models have one tokenizer."""
        path = f"{self.folder}/windows/{text}-{count}x{rows.TOKENS}.json"
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            command = [self.python, f"{HERE}/windows.py", self.model, TEXTS[text], str(count),
                       str(rows.TOKENS), f"{path}.part"]
            if process.run(command, f"{path}.log", self.settings)["rc"]:
                sys.exit(process.tail(f"{path}.log"))
            os.replace(f"{path}.part", path)
        return path

    def result_path(self, row):
        return f"{self.folder}/results/{row.name}.json"

    def key(self, row):
        """What a result depends on: another key makes it again."""
        key = {"tool": row.tool, "options": row.options, "samples": row.samples, "text": row.text,
               "tokens": rows.TOKENS, "weights": self.weights}
        if row.tool == "quantd":
            key["program"] = self.program
        return key

    def result(self, row):
        """What is known of a row, or None."""
        found = self.known(row)
        return found if found and found["key"] == self.key(row) else None

    def known(self, row):
        """As result(), but quantd's may come from another build."""
        path = self.result_path(row)
        found = read_json(path) if os.path.exists(path) else None
        wanted = self.key(row)
        same = found and all(found["key"].get(name) == value for name, value in wanted.items()
                             if name != "program")
        if same and found["key"] != wanted:
            found["older"] = True
        return found if same else None

    def quantize(self, row):
        """Runs a row and remembers the outcome, failures too."""
        print(f"{self.name}: {row.storage}, {row.label}", flush=True)
        os.makedirs(f"{self.folder}/artifacts", exist_ok=True)
        command = self.quantd_command(row) if row.tool == "quantd" else self.peer_command(row)
        log = f"{self.folder}/logs/{row.name}.log"
        before = os.getloadavg()[0]
        printed = f"{self.folder}/logs/{row.name}.out" if row.tool == "quantd" else None
        run = process.run(command, log, self.settings, printed)
        run["load_before"] = before
        if run["rc"] == 0:
            run |= self.check_quantd(row, printed) if row.tool == "quantd" else read_json(
                f"{self.folder}/jobs/{row.name}.result.json")
        else:
            run["error"] = process.tail(log)
            print(f"  failed:\n{run['error']}", flush=True)
        write_json(self.result_path(row), {"key": self.key(row), "run": run})

    def peer_command(self, row):
        environment = environments.of_tool(row.tool)
        options = dict(row.options)
        if row.tool == "llama.cpp":
            options["programs"] = environments.llama_cpp(self.arguments.environments)
        job = {"tool": row.tool, "model": self.model, "options": options,
               "windows": self.windows(row.text, row.samples) if row.samples else None,
               "out": f"{self.folder}/artifacts/{row.name}",
               "dtype": row.options.get("dtype", self.dtype),
               "result": f"{self.folder}/jobs/{row.name}.result.json",
               "threads": self.arguments.threads}
        write_json(f"{self.folder}/jobs/{row.name}.json", job)
        return [environments.python_of(self.arguments.environments, environment),
                f"{HERE}/run_peer.py", f"{self.folder}/jobs/{row.name}.json"]

    def quantd_command(self, row):
        out = f"{self.folder}/artifacts/{row.name}"
        shutil.rmtree(out, ignore_errors=True)
        command = [self.arguments.worker, "quantize", self.model, "--out", out, "--json",
                   "--threads", str(self.arguments.threads), "--seq-len", str(rows.TOKENS),
                   *self.evaluation_flags(), *row.options["flags"]]
        if row.samples:
            text = f"builtin:{row.text}" if row.text in BUILTIN else TEXTS[row.text]
            command += ["--calibration", text, "--samples", str(row.samples)]
        return command

    def evaluation_flags(self):
        return ["--evaluation", "builtin:evaluation", "--eval-windows", str(EVALUATION_WINDOWS)]

    def check_quantd(self, row, printed):
        """quantd's own figures, after making sure that it used the tokens that the others got."""
        report = read_json(printed)
        evaluated, calibrated = report["evaluation"], report["calibration"]
        evaluation = read_json(self.windows("evaluation", EVALUATION_WINDOWS))
        expected = {"evaluation text": (evaluated["dataset_digest"], evaluation["digest"]),
                    "predictions": (evaluated["tokens"],
                                    EVALUATION_WINDOWS * (rows.TOKENS - 1))}
        if row.samples and calibrated["dataset_digest"]:
            text = read_json(self.windows(row.text, row.samples))
            expected |= {"calibration text": (calibrated["dataset_digest"], text["digest"]),
                         "calibration tokens": (calibrated["tokens"],
                                                row.samples * rows.TOKENS)}
        for what, (theirs, ours) in expected.items():
            if theirs != ours:
                sys.exit(f"{row.name}: quantd's {what}: {theirs}, everybody else's: {ours}")
        return {"quantd_kl": evaluated["kl_mean"], "seconds": report["seconds"],
                "bits_per_weight": report["size"]["bits_per_weight"]}

    def evaluate(self, wanted):
        """One process for all results that have no figures yet: the original runs once."""
        kept = f"{self.folder}/original-{self.weights[:16]}-{EVALUATION_WINDOWS}.pt"
        job = {"original": self.model, "kept": kept, "threads": self.arguments.threads,
               "windows": self.windows("evaluation", EVALUATION_WINDOWS),
               "counts": [EVALUATION_WINDOWS, FEWER_WINDOWS],
               "artifacts": [{"name": row.name, "folder": f"{self.folder}/artifacts/{row.name}"}
                             for row in wanted]}
        # Named after its first row, so that two runs that share no row do not meet.
        path = f"{self.folder}/jobs/evaluate.{wanted[0].name}.json"
        log, printed = (f"{self.folder}/logs/evaluate.{wanted[0].name}.{end}"
                        for end in ("log", "out"))
        write_json(path, job)
        run = process.run([self.python, f"{HERE}/evaluate.py", path], log, self.settings, printed)
        by_name = {row.name: row for row in wanted}
        with open(printed, encoding="utf-8") as file:
            for line in map(json.loads, file):
                result = self.result_path(by_name[line["name"]])
                found = read_json(result)
                if "error" in line:
                    print(f"{line['name']}: {line['error']}", flush=True)
                    found["run"]["error"] = line["error"]
                else:
                    found["evaluation"] = line["windows"]
                    print(f"  {line['name']}: KL {line['windows']['64']['kl']:.5f}", flush=True)
                write_json(result, found)
        if run["rc"]:
            sys.exit(process.tail(log))

    def update(self, wanted):
        """Runs and evaluates what is new, a few at a time so that a run cut short loses little."""
        new = [row for row in wanted if self.result(row) is None]
        for begin in range(0, len(new), self.arguments.batch):
            some = new[begin:begin + self.arguments.batch]
            for row in some:
                self.quantize(row)
            made = [row for row in some if "error" not in self.result(row)["run"]]
            if made:
                self.evaluate(made)
        left = [row for row in wanted if (found := self.result(row)) is not None
                and "error" not in found["run"] and "evaluation" not in found]
        if left:
            self.evaluate(left)

    def able(self, row):
        """Whether the program or environment of a row is there."""
        if row.tool == "quantd":
            return self.program is not None
        if row.tool == "llama.cpp":
            return environments.llama_cpp(self.arguments.environments) is not None
        environment = environments.of_tool(row.tool)
        return environments.python_of(self.arguments.environments, environment) is not None
