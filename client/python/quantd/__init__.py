"""Client of quantd: quantization of language models as a service.

Five lines from a model to a folder::

    from quantd import Client

    client = Client("host:8470")
    job = client.quantize("/models/my-model", method="awq", bits=4)
    job.wait().download("out")

`AsyncClient` is the same for asyncio. Errors are exceptions under `QuantdError`, with the field
that is meant, what it got and what it wanted. `Recipe` and the functions of `quantd.scheme` say
what each linear gets; `Job.report` is what came out.
"""

from quantd.async_client import AsyncClient
from quantd.async_job import AsyncJob
from quantd.capabilities import Capabilities
from quantd.client import Client
from quantd.errors import (
    AlreadyExists,
    Damaged,
    InternalError,
    InvalidRequest,
    JobCancelled,
    JobError,
    JobFailed,
    NotFound,
    PermissionDenied,
    QualityGateMissed,
    QuantdError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unsupported,
    Violation,
    WaitTimeout,
    WrongState,
)
from quantd.event import (
    Event,
    FileSealed,
    Finished,
    LayerDone,
    Progressed,
    StateChanged,
    UnknownEvent,
    Warned,
)
from quantd.job import Job
from quantd.recipe import Override, Recipe
from quantd.report import Report
from quantd.retry import RetryPolicy
from quantd.scheme import Scheme
from quantd.snapshot import ArtifactFile, JobSnapshot, JobState, Plan, Progress, Result
from quantd.upload import Upload
from quantd.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "AlreadyExists", "ArtifactFile", "AsyncClient", "AsyncJob", "Capabilities", "Client", "Damaged",
    "Event", "FileSealed", "Finished", "InternalError", "InvalidRequest", "Job", "JobCancelled",
    "JobError", "JobFailed", "JobSnapshot", "JobState", "LayerDone", "NotFound", "Override",
    "PermissionDenied", "Plan", "Progress", "Progressed", "QualityGateMissed", "QuantdError",
    "Recipe", "Report", "ResourceExhausted", "Result", "RetryPolicy", "Scheme", "StateChanged",
    "Unauthenticated", "Unavailable", "UnknownEvent", "Unsupported", "Upload", "Violation",
    "WaitTimeout", "Warned", "Worker", "WrongState", "__version__",
]
