"""`airflow dags test`, with a database and folders of its own."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
AIRFLOW = pathlib.Path(sys.executable).with_name("airflow")
TINY = {"method": "rtn", "bits": 4, "eval_windows": 2, "sequence_length": 64}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"), "PYTHONDONTWRITEBYTECODE": "1",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False"}

    def run(*arguments):
        return subprocess.run([AIRFLOW, *arguments], capture_output=True, text=True, check=False,
                              env=environment, cwd=home, timeout=600)

    made = run("db", "migrate")
    assert made.returncode == 0, made.stderr
    return run


def dag_run(airflow, out, **options):
    conf = {"model": os.environ["QUANTD_MODEL"], "out": str(out), "options": {**TINY, **options}}
    return airflow("dags", "test", "quantize", "--conf", json.dumps(conf))


def test_a_run_ends_with_a_folder(airflow, tmp_path):
    done = dag_run(airflow, tmp_path / "out", gate_kl=0.5)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert (tmp_path / "out" / "config.json").is_file(), text
    assert "Pausing task as DEFERRED" in text and "Trigger completed" in text
    assert "succeeded" in text and "[DAG TEST] end task task_id=wait" in text


def test_a_missed_gate_fails_the_run(airflow, tmp_path):
    done = dag_run(airflow, tmp_path / "out", gate_kl=0.0001)
    text = done.stdout + done.stderr
    assert "QUALITY_GATE" in text
    assert "Marking run" in text and "failed" in text.split("Marking run", 1)[1].splitlines()[0]
    assert not (tmp_path / "out").exists()


def test_a_refusal_fails_without_retries(airflow, tmp_path):
    done = dag_run(airflow, tmp_path / "out", group_size=13)
    assert "group_size 13" in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()
