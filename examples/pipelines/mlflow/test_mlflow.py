"""Runs of the real library, in a database of their own."""

import os
import pathlib
import subprocess
import sys

import pytest
from log_quantization import quantize_run

import mlflow
import quantd

MODEL = os.environ["QUANTD_MODEL"]
TINY = {"method": "rtn", "bits": 4, "eval_windows": 2, "sequence_length": 64}


@pytest.fixture
def tracking(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment(
        "quantd", artifact_location=(tmp_path / "artifacts").as_uri()))
    return mlflow.MlflowClient()


def artifacts(tracking, run, path=None):
    found = set()
    for entry in tracking.list_artifacts(run, path):
        found |= artifacts(tracking, run, entry.path) if entry.is_dir else {entry.path}
    return found


def test_a_run_has_everything(tracking):
    with quantd.Client() as client:
        run_id = quantize_run(client, MODEL, gate_kl=0.5, **TINY)
    run = tracking.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["method"] == "rtn" and run.data.params["gate_kl"] == "0.5"
    assert run.data.tags["quantd.gate"] == "passed"
    assert 0 < run.data.metrics["kl_mean"] < 0.5
    assert run.data.metrics["bits_per_weight"] == 4.125
    found = artifacts(tracking, run_id)
    assert {"layers.json", "report/report.json", "report/report.html", "model/config.json",
            "model/model.safetensors"} <= found
    report = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="report/report.json")
    text = pathlib.Path(report).read_text("utf-8")
    assert quantd.Report.from_json(text).evaluation.kl_mean == run.data.metrics["kl_mean"]


def test_a_missed_gate_is_a_tag(tracking):
    with quantd.Client() as client:
        run_id = quantize_run(client, MODEL, keep_model=False, gate_kl=0.0001, **TINY)
    run = tracking.get_run(run_id)
    assert run.data.tags["quantd.gate"] == "missed"
    assert "0.0001" in run.data.tags["quantd.gate.missed"]
    assert run.data.metrics["kl_mean"] > 0.0001


def test_a_refusal_is_a_failed_run(tracking):
    with quantd.Client() as client, pytest.raises(quantd.InvalidRequest):
        quantize_run(client, MODEL, method="rtn", group_size=13)
    assert [run.info.status for run in mlflow.search_runs(output_format="list")] == ["FAILED"]


def test_the_command_line(tmp_path):
    script = pathlib.Path(__file__).parent / "log_quantization.py"
    mine = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, script, MODEL, "--method", "rtn", "--bits", "8", "--eval-windows", "2"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**mine, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/runs.db"})
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()[-1]) == 32
