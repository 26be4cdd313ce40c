"""The component run by kfp.local, and the pipeline compiled."""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from kfp import local
from quantize_pipeline import QUANTD, quantize, quantize_pipeline

import quantd

MODEL = os.environ["QUANTD_MODEL"]
SERVER = os.environ["QUANTD_SERVER"]
TINY = {"method": "rtn", "bits": 4, "eval_windows": 2, "sequence_length": 64}


@pytest.fixture(autouse=True)
def runner(tmp_path):
    # This environment has quantd already: nothing is installed from a registry.
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path),
               raise_on_error=True)


def test_a_component_gives_metrics_report_and_model():
    task = quantize(server=SERVER, model=MODEL, options={**TINY, "gate_kl": 0.5})
    assert 0 < task.outputs["Output"] < 0.5
    metrics = task.outputs["metrics"].metadata
    assert metrics["kl_mean"] == task.outputs["Output"] and metrics["bits_per_weight"] == 4.125
    assert "<html" in pathlib.Path(task.outputs["report"].path).read_text("utf-8")
    model = pathlib.Path(task.outputs["quantized"].path)
    assert (model / "config.json").is_file() and (model / "model.safetensors").is_file()
    assert task.outputs["quantized"].metadata["format"] == "compressed-tensors"


def test_a_missed_gate_fails_the_step(capfd):
    with pytest.raises(RuntimeError, match="FAILURE"):
        quantize(server=SERVER, model=MODEL, options={**TINY, "gate_kl": 0.0001})
    assert "QualityGateMissed" in "".join(capfd.readouterr())


def test_the_pipeline_runs():
    task = quantize_pipeline(server=SERVER, model=MODEL, options=TINY)
    assert 0 < task.output < 0.5


def test_it_compiles(tmp_path):
    script = pathlib.Path(__file__).parent / "quantize_pipeline.py"
    subprocess.run([sys.executable, script, tmp_path / "quantize.yaml"], check=True)
    spec = yaml.safe_load((tmp_path / "quantize.yaml").read_text("utf-8"))
    (executor,) = spec["deploymentSpec"]["executors"].values()
    assert QUANTD in " ".join(executor["container"]["command"])
    assert f"quantd=={quantd.__version__}" == QUANTD
