"""A real model goes in; a quantized model and its accuracy come out, with the programs that users
have: quantctl against a server with a local worker."""

import html.parser
import json
import pathlib
import pty
import os
import re
import signal
import subprocess

import pytest

from programs import MODEL, TINY, program, run
from waiting import until

RTN = ["--method", "rtn", "--bits", "4", "--group-size", "128", *TINY]
INT8 = ["--method", "int8", *TINY]
# Enough work to be interrupted.
LONG = ["--method", "rtn", "--scale-rule", "weighted-mse", "--propagate", "quantized",
        "--samples", "120"]
JOB = re.compile(r"jobs/[a-z0-9-]+")
# Measured, so never twice the same.
MEASURED = ("seconds", "seconds_total", "peak_rss_bytes")


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def without_measurements(value):
    if isinstance(value, dict):
        return {key: without_measurements(item) for key, item in value.items()
                if key not in MEASURED}
    if isinstance(value, list):
        return [without_measurements(item) for item in value]
    return value


@pytest.fixture(scope="module")
def done(quantctl):
    """A finished job: its name, its folder, what quantctl printed."""
    printed = quantctl("quantize", MODEL, *RTN, "--out", "done", "--label", "team=red", "--json")
    assert printed.returncode == 0, printed.stderr
    result = json.loads(printed.stdout)
    return {"job": result["job"], "folder": quantctl.home / "done", "json": result,
            "stderr": printed.stderr}


@pytest.mark.parametrize("flags", [RTN, INT8], ids=["rtn", "int8"])
def test_the_service_gives_what_the_engine_alone_gives(quantctl, tmp_path, flags):
    through = tmp_path / "through"
    alone = tmp_path / "alone"
    printed = quantctl("quantize", MODEL, *flags, "--out", through)
    assert printed.returncode == 0, printed.stderr
    assert "perplexity" in printed.stdout and str(through) in printed.stdout
    engine = run([program("quantd-worker"), "quantize", MODEL, *flags, "--out", alone, "--quiet"])
    assert engine.returncode == 0, engine.stderr

    assert files_below(through) == files_below(alone)
    assert "model.safetensors" in files_below(through)
    for name in files_below(alone):
        if name in ("quantd/report.json", "quantd/report.html", "quantd/manifest.json"):
            continue
        assert (through / name).read_bytes() == (alone / name).read_bytes(), name
    reports = [json.loads((folder / "quantd/report.json").read_text("utf-8"))
               for folder in (through, alone)]
    assert without_measurements(reports[0]) == without_measurements(reports[1])
    assert reports[0]["evaluation"]["tokens"] == 126


def test_json_is_the_report_and_names_job_and_folder(done):
    report = json.loads((done["folder"] / "quantd/report.json").read_text("utf-8"))
    for key, value in report.items():
        assert done["json"][key] == value, key
    assert done["json"]["state"] == "SUCCEEDED"
    assert pathlib.Path(done["json"]["folder"]).name == "done"
    assert "\x1b" not in done["stderr"], "no colours and no bar where there is no terminal"


def test_jobs_list_get_report(quantctl, done):
    assert done["job"] in quantctl.ok("jobs", "list")
    labelled = json.loads(quantctl.ok("jobs", "list", "--label", "team=red", "--json"))
    assert [job["name"] for job in labelled] == [done["job"]]
    assert quantctl.ok("jobs", "list", "--label", "team=blue", "--names") == ""
    assert done["job"] in quantctl.ok("jobs", "list", "--state", "succeeded", "--names").split()
    text = quantctl.ok("jobs", "get", done["job"])
    assert "succeeded" in text and "bits per weight" in text
    # The bare id will do.
    job = json.loads(quantctl.ok("jobs", "get", done["job"].split("/")[1], "--json"))
    assert job["name"] == done["job"] and job["state"] == "SUCCEEDED"
    report = json.loads(quantctl.ok("jobs", "report", done["job"], "--json"))
    assert report == json.loads((done["folder"] / "quantd/report.json").read_text("utf-8"))
    assert "rtn int4 g128" in quantctl.ok("jobs", "report", done["job"])


class Page(html.parser.HTMLParser):
    """The cells of a page; fails where a tag is not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.rows = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.rows[-1][-1] += data


def test_the_page_says_what_the_report_says(quantctl, done):
    printed = quantctl.ok("jobs", "report", done["job"], "--html", "page.html")
    text = (quantctl.home / "page.html").read_text("utf-8")
    assert "page.html" in printed and len(text) < 100_000
    assert text == (done["folder"] / "quantd/report.html").read_text("utf-8")
    assert text == quantctl.ok("jobs", "report", done["job"], "--html", "-")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == [] and page.tags.count("script") == 1 and "svg" in page.tags
    rows = {row[0]: row for row in page.rows if row}
    for layer in done["json"]["layers"]:
        row = rows[layer["name"]]
        assert row[2] == "{} × {}".format(*layer["shape"])
        assert float(row[3]) == pytest.approx(layer["weight_snr_db"], abs=0.006)
        assert float(row[4]) == pytest.approx(100 * layer["relative_output_error"], abs=0.006)
    evaluation = done["json"]["evaluation"]
    assert f"{evaluation['kl_mean']:.4g}" in text and "KL of the tokens" in text
    assert sum(evaluation["kl_histogram"]["counts"]) == evaluation["tokens"]


def test_compare_marks_the_frontier_with_and_without_a_server(quantctl, done):
    other = quantctl("quantize", MODEL, *INT8, "--out", "int8", "--json")
    assert other.returncode == 0, other.stderr
    other = json.loads(other.stdout)
    compared = json.loads(quantctl.ok("compare", done["job"], other["job"], "--json"))
    assert [entry["name"] for entry in compared] == [done["job"], other["job"]]
    assert compared[0]["bits_per_weight"] < compared[1]["bits_per_weight"]
    assert compared[0]["kl_mean"] == done["json"]["evaluation"]["kl_mean"]
    better = other["evaluation"]["kl_mean"] < done["json"]["evaluation"]["kl_mean"]
    assert [entry["frontier"] for entry in compared] == [True, better]
    # Folders need no server.
    printed = quantctl("compare", "done", "int8", "--server", "127.0.0.1:1")
    assert printed.returncode == 0, printed.stderr
    assert "rtn int4 g128" in printed.stdout and "int8" in printed.stdout
    missing = quantctl("compare", done["job"], "jobs/nosuchjob")
    assert missing.returncode == 2 and done["job"] in missing.stdout


def test_artifacts_list_and_get(quantctl, done):
    listed = json.loads(quantctl.ok("artifacts", "list", done["job"], "--json"))
    assert sorted(file["path"] for file in listed) == files_below(done["folder"])
    assert "model.safetensors" in quantctl.ok("artifacts", "list", done["job"])
    quantctl.ok("artifacts", "get", done["job"], "--out", "again")
    again = quantctl.home / "again"
    assert files_below(again) == files_below(done["folder"])
    for name in files_below(again):
        assert (again / name).read_bytes() == (done["folder"] / name).read_bytes()
    second = quantctl("artifacts", "get", done["job"], "--out", "again")
    assert second.returncode == 0 and "already there" in second.stderr
    config = quantctl.ok("artifacts", "get", done["job"], "config.json", "--stdout")
    assert config == (done["folder"] / "config.json").read_text("utf-8")
    missing = quantctl("artifacts", "get", done["job"], "no-such-file", "--stdout")
    assert missing.returncode == 2 and "no-such-file" in missing.stderr


def test_detach_then_watch_with_download(quantctl):
    detached = quantctl("quantize", MODEL, *INT8, "--detach")
    assert detached.returncode == 0
    job = detached.stdout.strip()
    assert JOB.fullmatch(job) and f"jobs watch {job}" in detached.stderr
    watched = quantctl("jobs", "watch", job, "--out", "watched")
    assert watched.returncode == 0, watched.stderr
    assert "int8" in watched.stdout
    assert "model.safetensors" in files_below(quantctl.home / "watched")
    lines = quantctl.ok("jobs", "watch", job, "--json").splitlines()
    sequences = [int(json.loads(line)["sequence"]) for line in lines if '"sequence"' in line]
    assert sequences == list(range(1, len(sequences) + 1)) and len(sequences) > 3


def test_dry_run_and_validate_make_nothing(quantctl, shared_server):
    before = quantctl.ok("jobs", "list", "--all", "--names")
    kept = shared_server.everything_kept()
    for command in (["quantize", MODEL, *RTN, "--dry-run"], ["validate", MODEL, *RTN]):
        plan = json.loads(quantctl.ok(*command, "--json"))
        assert plan["family"] == "llama" and len(plan["linears"]) == 29
        assert "bits per weight" in quantctl.ok(*command)
    assert quantctl.ok("jobs", "list", "--all", "--names") == before
    assert shared_server.everything_kept() == kept
    assert not (quantctl.home / "books-3m-rtn-4bit").exists()


def test_exit_code_2_says_what_is_wrong(quantctl):
    refused = quantctl("quantize", MODEL, "--method", "rtn", "--bits", "9", *TINY)
    assert refused.returncode == 2 and "bits" in refused.stderr and "got 9" in refused.stderr
    assert quantctl("quantize", MODEL, "--no-such-flag").returncode == 2
    outside = quantctl("quantize", "/etc", *RTN, "--out", "refused")
    assert outside.returncode == 2 and "--model-root" in outside.stderr
    assert not (quantctl.home / "refused").exists()
    unknown = quantctl("jobs", "get", "jobs/aaaaaaaaaaaaaaaa")
    assert unknown.returncode == 2 and "no job jobs/aaaa" in unknown.stderr


def test_exit_code_3_when_there_is_no_server(quantctl):
    # Port 1 of loopback: reserved, nobody listens.
    alone = quantctl("jobs", "list", "--server", "127.0.0.1:1")
    assert alone.returncode == 3
    assert "127.0.0.1:1" in alone.stderr and "--local-workers" in alone.stderr


def test_exit_code_4_keeps_the_files_of_a_missed_gate(quantctl):
    missed = quantctl("quantize", MODEL, *RTN, "--gate-kl", "0.000001", "--out", "missed",
                      "--json")
    assert missed.returncode == 4, missed.stderr
    result = json.loads(missed.stdout)
    assert result["state"] == "FAILED" and result["error"]["reason"] == "QUALITY_GATE"
    assert "KL" in missed.stderr or "kl" in missed.stderr
    assert "model.safetensors" in files_below(quantctl.home / "missed")


def test_exit_code_1_after_a_cancel(quantctl):
    job = quantctl.ok("quantize", MODEL, *LONG, "--detach").strip()
    watching = quantctl.start("jobs", "watch", job)
    until(lambda: "running" in quantctl.ok("jobs", "get", job), "the job to run")
    refused = quantctl("jobs", "delete", job)
    assert refused.returncode == 2 and "cancel" in refused.stderr
    assert "cancel" in quantctl.ok("jobs", "cancel", job)
    _, stderr = watching.communicate(timeout=60)
    assert watching.returncode == 1 and "cancelled" in stderr
    assert quantctl.ok("artifacts", "list", job) == ""
    assert "deleted" in quantctl.ok("jobs", "delete", job)
    assert quantctl("jobs", "get", job).returncode == 2


def test_ctrl_c_leaves_the_job_running_and_says_how_to_return(quantctl):
    following = quantctl.start("quantize", MODEL, *LONG, "--out", "interrupted")
    name = JOB.search(following.stderr.readline()).group(0)
    until(lambda: "running" in quantctl.ok("jobs", "get", name), "the job to run")
    following.send_signal(signal.SIGINT)
    _, stderr = following.communicate(timeout=60)
    assert following.returncode == 130
    assert f"jobs watch {name}" in stderr and f"jobs cancel {name}" in stderr
    assert "running" in quantctl.ok("jobs", "get", name)
    quantctl.ok("jobs", "cancel", name)
    assert quantctl("jobs", "watch", name).returncode == 1


def test_a_bar_is_drawn_on_a_terminal(quantctl):
    parent, child = pty.openpty()
    running = subprocess.Popen(quantctl.command("quantize", MODEL, *RTN, "--out", "bar"),
                               env=quantctl.environment | {"TERM": "xterm"}, cwd=quantctl.home,
                               stdout=subprocess.DEVNULL, stderr=child, start_new_session=True)
    os.close(child)
    drawn = b""
    try:
        while chunk := os.read(parent, 65536):
            drawn += chunk
    except OSError:  # how Linux says that the other end of a terminal is closed
        pass
    os.close(parent)
    assert running.wait(60) == 0
    assert b"\r" in drawn and b"model.safetensors" in drawn


def test_what_the_server_can_do(quantctl):
    assert "rtn" in quantctl.ok("methods") and "int8" in quantctl.ok("methods")
    assert "group_size" in quantctl.ok("methods", "rtn")
    assert {method["name"] for method in json.loads(quantctl.ok("methods", "--json"))} >= {
        "rtn", "int8"}
    assert "compressed-tensors" in quantctl.ok("formats")
    families = {family["name"] for family in json.loads(quantctl.ok("families", "--json"))}
    assert families >= {"llama", "mistral", "qwen2", "qwen3"}
    workers = json.loads(quantctl.ok("workers", "--json"))
    assert len(workers) == 1 and workers[0]["state"] in ("IDLE", "BUSY")
    versions = json.loads(quantctl.ok("version", "--json"))
    assert versions["client"] == versions["server"]


def test_bash_completes_jobs_of_the_server(quantctl, done):
    script = """
        source <(quantctl completion bash)
        COMP_WORDS=(quantctl jobs get jobs/); COMP_CWORD=3
        _quantctl
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{pathlib.Path(program('quantctl')).parent}:{quantctl.environment['PATH']}"
    offered = run(["bash", "--norc", "-c", script], env=quantctl.environment | {"PATH": path})
    assert offered.returncode == 0, offered.stderr
    assert done["job"] in offered.stdout.split()
