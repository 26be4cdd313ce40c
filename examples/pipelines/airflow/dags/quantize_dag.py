"""Quantizes the model of the run's configuration: `airflow dags test quantize --conf '{…}'`."""

from __future__ import annotations

from airflow.sdk import DAG, Param
from quantd_airflow import QuantdJobSensor, QuantizeOperator

with DAG(
    "quantize",
    schedule=None,
    params={
        "model": Param("/models/my-model", type="string"),
        "out": Param("/models/my-model-int4", type="string"),
        "options": Param({"method": "awq", "bits": 4, "gate_kl": 0.02}, type="object"),
    },
    render_template_as_native_obj=True,
):
    submit = QuantizeOperator(
        task_id="submit", model="{{ params.model }}", options="{{ params.options }}"  # type: ignore
    )
    QuantdJobSensor(task_id="wait", job=submit.output, out="{{ params.out }}")
