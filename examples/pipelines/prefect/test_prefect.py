"""The flow in Prefect's own test server."""

import logging
import os
import pathlib

import pytest
from prefect.testing.utilities import prefect_test_harness
from quantize_flow import quantize

import quantd

MODEL = os.environ["QUANTD_MODEL"]
TINY = {"method": "rtn", "bits": 4, "eval_windows": 2, "sequence_length": 64}


@pytest.fixture(scope="module", autouse=True)
def harness():
    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_the_flow_ends_with_a_folder(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        metrics = quantize(MODEL, str(tmp_path / "out"), {**TINY, "gate_kl": 0.5})
    assert 0 < metrics["kl_mean"] < 0.5
    assert pathlib.Path(tmp_path / "out" / "config.json").is_file()
    assert "succeeded" in caplog.text


def test_a_missed_gate_fails_the_flow(tmp_path):
    state = quantize(MODEL, str(tmp_path / "out"), {**TINY, "gate_kl": 0.0001}, return_state=True)
    assert state.is_failed()
    with pytest.raises(quantd.QualityGateMissed):
        state.result()
    assert not (tmp_path / "out").exists()
