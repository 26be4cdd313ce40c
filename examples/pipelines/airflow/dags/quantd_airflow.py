"""quantd in Airflow: an operator that submits, a deferrable sensor that holds no worker slot.

Lies beside the DAGs, or anywhere on the Python path of scheduler, workers and triggerer.
"""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseOperator, BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent

import quantd


class QuantizeOperator(BaseOperator):
    """Submits a job and pushes its name to XCom.

    `options`: the keywords of `quantd.Client.quantize`. Identical requests share a job, so a
    retried task does not start a second one. What the server refuses fails without retries.
    """

    template_fields = ("model", "options")

    def __init__(self, *, model: str, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.options = options

    def execute(self, context: Any) -> str:
        """Called by Airflow."""
        with quantd.Client() as client:
            try:
                job = client.quantize(self.model, **self.options)
            except quantd.InvalidRequest as error:
                raise AirflowFailException(str(error)) from error
        self.log.info("%s: %s", job.name, job.state.value)
        return job.name


class JobTrigger(BaseTrigger):
    """Fires once the job is final. A broken connection to the server is taken up again."""

    def __init__(self, job: str) -> None:
        super().__init__()
        self.job = job

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Called by Airflow."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"job": self.job}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Called by the triggerer."""
        async with quantd.AsyncClient() as client:
            job = await client.job(self.job)
            await job.wait(progress=False, check=False)
        yield TriggerEvent({"job": self.job, "state": job.state.value})


class QuantdJobSensor(BaseSensorOperator):
    """Waits for a job, deferred; pushes its metrics; downloads it where `out` is given.

    A job that failed, was cancelled or missed its gate fails the task without retries.
    """

    template_fields = ("job", "out")

    def __init__(self, *, job: str, out: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.out = out

    def execute(self, context: Any) -> None:
        """Called by Airflow."""
        self.defer(trigger=JobTrigger(self.job), method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, float]:
        """Called by Airflow when the trigger has fired."""
        self.log.info("%s: %s", event["job"], event["state"])
        with quantd.Client() as client:
            job = client.job(event["job"])
            try:
                job.check()
            except quantd.JobError as error:
                raise AirflowFailException(str(error)) from error
            if self.out:
                job.download(pathlib.Path(self.out))
            return job.report().metrics()
