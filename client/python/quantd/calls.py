"""Each operation of the API as steps, with pages put together."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional

from quantd.capabilities import Capabilities
from quantd.retry import RetryPolicy
from quantd.snapshot import ArtifactFile, JobSnapshot, JobState, Plan
from quantd.source import Model
from quantd.spec import create_request
from quantd.steps import Emit, Steps, call
from quantd.v1 import quantization_service_pb2 as api
from quantd.v1 import quantization_service_rpc as rpcs
from quantd.worker import Worker

PAGE = 1000


def job_name(name: str) -> str:
    """jobs/ID of that or of ID alone.

    >>> job_name("abc"), job_name("jobs/abc")
    ('jobs/abc', 'jobs/abc')
    """
    return name if name.startswith("jobs/") else f"jobs/{name}"


def capabilities(policy: RetryPolicy) -> Steps[Capabilities]:
    """What the server can do."""
    request = api.GetCapabilitiesRequest()
    return Capabilities.from_proto((yield from call(rpcs.GetCapabilities, request, policy)))


def create(model: Model, said: Mapping[str, Any], policy: RetryPolicy) -> Steps[JobSnapshot]:
    """A new job. Its request id makes another try safe."""
    request = create_request(model, said)
    return JobSnapshot((yield from call(rpcs.CreateJob, request, policy)))


def validate(model: Model, said: Mapping[str, Any], policy: RetryPolicy) -> Steps[Plan]:
    """Checks everything, makes nothing."""
    request = create_request(model, said, validate_only=True)
    job = yield from call(rpcs.CreateJob, request, policy)
    return Plan.from_proto(job.plan)


def get(name: str, policy: RetryPolicy) -> Steps[JobSnapshot]:
    """One job in full."""
    request = api.GetJobRequest(name=job_name(name))
    return JobSnapshot((yield from call(rpcs.GetJob, request, policy)))


def job_filter(state: Optional[JobState], labels: Optional[Mapping[str, str]], more: str) -> str:
    """The filter of ListJobs.

    >>> job_filter(JobState.FAILED, {"team": "a"}, 'method = "rtn"')
    'state = FAILED AND labels.team = "a" AND method = "rtn"'
    """
    parts = [f"state = {state.name}"] if state is not None else []
    parts += [f'labels.{key} = "{value}"' for key, value in (labels or {}).items()]
    return " AND ".join([*parts, more] if more else parts)


def list_jobs(condition: str, limit: Optional[int], policy: RetryPolicy) -> Steps[None]:
    """Emits jobs, newest first, at most `limit`."""
    left, token = limit, ""
    while left is None or left > 0:
        size = PAGE if left is None else min(left, PAGE)
        request = api.ListJobsRequest(page_size=size, page_token=token, filter=condition)
        page = yield from call(rpcs.ListJobs, request, policy)
        for job in page.jobs:
            yield Emit(JobSnapshot(job))
        left = None if left is None else left - len(page.jobs)
        token = page.next_page_token
        if not token:
            return


def cancel(name: str, policy: RetryPolicy) -> Steps[JobSnapshot]:
    """Asks for the job to stop."""
    request = api.CancelJobRequest(name=job_name(name))
    return JobSnapshot((yield from call(rpcs.CancelJob, request, policy)))


def delete(name: str, policy: RetryPolicy) -> Steps[None]:
    """Removes a final job and its files."""
    yield from call(rpcs.DeleteJob, api.DeleteJobRequest(name=job_name(name)), policy)


def list_files(job: str, policy: RetryPolicy) -> Steps[List[ArtifactFile]]:
    """The files that are finished so far, in order of path."""
    files: List[ArtifactFile] = []
    token = ""
    while True:
        request = api.ListArtifactFilesRequest(job=job, page_token=token)
        page = yield from call(rpcs.ListArtifactFiles, request, policy)
        files += [ArtifactFile.from_proto(file) for file in page.files]
        token = page.next_page_token
        if not token:
            return files


def list_workers(policy: RetryPolicy) -> Steps[List[Worker]]:
    """All workers that were seen in the last day, in order of name."""
    workers: List[Worker] = []
    token = ""
    while True:
        request = api.ListWorkersRequest(page_token=token)
        page = yield from call(rpcs.ListWorkers, request, policy)
        workers += [Worker.from_proto(worker) for worker in page.workers]
        token = page.next_page_token
        if not token:
            return workers


def drain_worker(name: str, policy: RetryPolicy) -> Steps[Worker]:
    """Lets a worker end what it runs, and leave."""
    full = name if name.startswith("workers/") else f"workers/{name}"
    request = api.DrainWorkerRequest(name=full)
    return Worker.from_proto((yield from call(rpcs.DrainWorker, request, policy)))
