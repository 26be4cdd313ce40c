"""The script as a CI system runs it."""

import os
import pathlib
import subprocess

import yaml

HERE = pathlib.Path(__file__).parent
TINY = ["--method", "rtn", "--bits", "4", "--eval-windows", "2", "--seq-len", "64"]


def gate(tmp_path, *arguments, **environment):
    return subprocess.run(
        [HERE / "quantize-gate.sh", *arguments], capture_output=True, text=True, check=False,
        cwd=tmp_path, env={**os.environ, "GITHUB_OUTPUT": str(tmp_path / "output"),
                           "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), **environment})


def outputs(tmp_path):
    lines = (tmp_path / "output").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_a_good_result_passes(tmp_path):
    done = gate(tmp_path, os.environ["QUANTD_MODEL"], "out", "0.5", *TINY)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "config.json").is_file()
    found = outputs(tmp_path)
    assert found["gate"] == "passed" and 0 < float(found["kl"]) < 0.5
    assert found["job"].startswith("jobs/")
    assert "| passed |" in (tmp_path / "summary.md").read_text("utf-8")


def test_a_bad_result_fails_and_says_by_how_much(tmp_path):
    done = gate(tmp_path, os.environ["QUANTD_MODEL"], "out", "0.0001", *TINY)
    assert done.returncode == 4, done.stderr
    assert outputs(tmp_path)["gate"] == "missed"
    assert "gate missed: mean KL 0.0" in done.stderr
    assert (tmp_path / "out" / "config.json").is_file(), "what missed can be looked at"


def test_other_failures_have_codes_of_their_own(tmp_path):
    model = os.environ["QUANTD_MODEL"]
    assert gate(tmp_path).returncode == 2
    assert gate(tmp_path, model, "out", "0.5", "--bits", "99").returncode == 2
    assert gate(tmp_path, model, "out", "0.5", QUANTD_SERVER="127.0.0.1:9").returncode == 3
    assert not (tmp_path / "output").exists()


def test_the_workflow_runs_the_script_that_is_there():
    jobs = yaml.safe_load((HERE / "workflow.yml").read_text("utf-8"))["jobs"]
    (script,) = [step["run"] for step in jobs["quantize"]["steps"] if "run" in step]
    root = HERE.parents[2]
    assert (root / script.split()[0]).samefile(HERE / "quantize-gate.sh")
