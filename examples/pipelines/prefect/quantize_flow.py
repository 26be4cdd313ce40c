"""A Prefect flow: quantize, look at the gate, download."""

import pathlib

from prefect.logging import get_run_logger

import quantd
from prefect import flow, task
from quantd import event


@task(retries=3, retry_delay_seconds=30,
      retry_condition_fn=lambda task, run, state: isinstance(
          state.result(raise_on_failure=False), quantd.Unavailable))
def submit(model: str, options: dict) -> str:
    """The name of the job. Identical requests share one, so another try starts no second job."""
    with quantd.Client() as client:
        return client.quantize(model, **options).name


@task
def watch(job: str) -> dict:
    """Logs what happens until the job is final; its metrics. Fails as the job does."""
    logger = get_run_logger()

    def log(one: event.Event) -> None:
        if isinstance(one, event.StateChanged):
            logger.info("%s: %s", job, one.state.value)
        elif isinstance(one, event.Progressed):
            progress = one.progress
            logger.info("%s: %d of %d blocks", progress.stage, progress.blocks_done,
                        progress.blocks_total)
        elif isinstance(one, event.Warned):
            logger.warning(one.text)

    with quantd.Client() as client:
        return client.job(job).wait(progress=log).report().metrics()


@task
def fetch(job: str, out: str) -> str:
    """The folder of the artifact."""
    with quantd.Client() as client:
        return str(client.job(job).download(pathlib.Path(out)))


@flow(name="quantize")
def quantize(model: str, out: str, options: dict) -> dict:
    """Metrics of the result, which lies in `out`. A missed gate fails the flow."""
    job = submit(model, options)
    metrics = watch(job)
    fetch(job, out)
    return metrics


if __name__ == "__main__":
    quantize("/models/my-model", "my-model-int4", {"method": "awq", "bits": 4, "gate_kl": 0.02})
