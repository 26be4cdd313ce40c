"""A GGUF file as the model of a job: inspected, planned, quantized through the service."""

import json

import pytest

from programs import MODEL, TINY, program, run
from server_process import MODELS, ServerProcess


@pytest.fixture(scope="module", name="source")
def gguf_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    made = run([program("quantd-worker"), "quantize", MODEL, "--out", folder / "made", "--method",
                "gguf", "--option", "type=Q8_0", "--format", "gguf", "--no-evaluation"])
    assert made.returncode == 0, made.stderr
    (file,) = (folder / "made").glob("*.gguf")
    return file.rename(folder / "books.gguf")


@pytest.fixture(scope="module", name="quantctl")
def quantctl_of_a_server(source, tmp_path_factory):
    running = ServerProcess(tmp_path_factory.mktemp("server"),
                            model_roots=(MODELS, source.parent)).start()
    yield running.quantctl()
    running.clean_up()


def test_a_plan_of_a_gguf_file(quantctl, source):
    shown = quantctl("inspect", source)
    assert shown.returncode == 0 and "no problems found" in shown.stdout, shown.stdout
    planned = quantctl("validate", source, "--method", "rtn", "--bits", "4", *TINY)
    assert planned.returncode == 0, planned.stderr
    assert "GGUF, Q8_0" in planned.stdout + planned.stderr


def test_a_job_of_a_gguf_file(quantctl, source, tmp_path):
    printed = quantctl("quantize", source, "--method", "rtn", "--bits", "4", *TINY, "--out",
                       tmp_path / "out", "--json")
    assert printed.returncode == 0, printed.stderr
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert (tmp_path / "out" / "tokenizer.json").exists()
    report = json.loads((tmp_path / "out" / "quantd" / "report.json").read_text())
    assert any("GGUF, Q8_0" in warning for warning in report["warnings"])
    assert quantctl("inspect", tmp_path / "out").returncode == 0


def test_a_damaged_gguf_file_is_refused(quantctl, source):
    cut = source.parent / "cut.gguf"
    cut.write_bytes(source.read_bytes()[:100_000])
    refused = quantctl("quantize", cut, "--method", "rtn", "--bits", "4", *TINY)
    assert refused.returncode == 2, refused.stderr
    assert "cut.gguf" in refused.stderr
