"""Everything that can go wrong, as exceptions: one class per family, `QuantdError` above all.

The server says why in a word (`reason`, see docs/errors.md), which field is meant, what it got and
what it wanted:

>>> error = error_from_parts("INVALID_ARGUMENT", "bits are wrong", "INVALID_FIELD",
...     [Violation("job.spec.recipe.default_scheme.bits", "9", "1 to 8")])
>>> type(error).__name__, error.violations[0].wanted
('InvalidRequest', '1 to 8')
>>> print(error)
bits are wrong (INVALID_FIELD)
  job.spec.recipe.default_scheme.bits: got 9, wanted 1 to 8
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple, Type

import grpc
from google.rpc import error_details_pb2, status_pb2

from quantd.v1 import job_pb2

if TYPE_CHECKING:
    from quantd.snapshot import JobSnapshot

DOMAIN = "quantd"
_DETAILS = "grpc-status-details-bin"
_GOT, _WANTED = "got ", ", wanted "


@dataclass(frozen=True)
class Violation:
    """One thing that was wrong."""

    field: str
    """A field path of the request, a file, or file:tensor."""
    got: str
    """What was found; may be empty."""
    wanted: str
    """What would have been right; may be empty."""

    def __str__(self) -> str:
        """One line, as `quantctl` prints it."""
        facts = [f"got {self.got}"] if self.got else []
        facts += [f"wanted {self.wanted}"] if self.wanted else []
        return ": ".join(part for part in (self.field, ", ".join(facts)) if part)


class QuantdError(Exception):
    """What all errors of this package are."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        violations: Sequence[Violation] = (),
        metadata: Optional[Mapping[str, str]] = None,
        retry_after: Optional[datetime.timedelta] = None,
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        """For people."""
        self.reason = reason
        """UPPER_SNAKE, as docs/errors.md lists them; empty: not from quantd."""
        self.violations: Tuple[Violation, ...] = tuple(violations)
        """What was wrong, where; may be empty."""
        self.metadata: Dict[str, str] = dict(metadata or {})
        """Of the server: "fault" ("user" or "system"), "retryable"."""
        self.retry_after = retry_after
        """How long to wait before the same call may succeed; None: it does not help."""
        self.code = code
        """Name of the gRPC code; empty: there was no call."""

    def __str__(self) -> str:
        """The message, the reason, and one line per violation."""
        text = self.message
        if self.violations:
            # The server appends what the violations say.
            text = text.split(f": {self.violations[0].field}")[0]
        if self.reason:
            text += f" ({self.reason})"
        return "\n".join([text, *(f"  {violation}" for violation in self.violations)])


class InvalidRequest(QuantdError, ValueError):
    """The request is wrong, and `violations` say where; another try will not help."""


class NotFound(QuantdError, LookupError):
    """There is no such job, file or model."""


class AlreadyExists(QuantdError):
    """The name or request id is taken by something else."""


class WrongState(QuantdError):
    """The operation does not fit the state of the job or of this machine."""


class Unauthenticated(QuantdError):
    """The call carries no token, or none that is good."""


class PermissionDenied(QuantdError, PermissionError):
    """The caller's roles, or the operator's settings, do not allow this."""


class ResourceExhausted(QuantdError):
    """A queue or quota is full; `retry_after` says when to try again, if it helps."""


class Unavailable(QuantdError, ConnectionError):
    """The server, or something it needs, is not there at the moment."""


class Unsupported(QuantdError):
    """This server does not have it (yet)."""


class Damaged(QuantdError):
    """A file is not what it should be: a model of the server, or a download."""


class InternalError(QuantdError):
    """A fault of the server, or of this client."""


class WaitTimeout(QuantdError, TimeoutError):
    """The job was not final in time. It goes on."""


class JobError(QuantdError):
    """A job ended without success; `job` is what it looked like then."""

    def __init__(self, message: str, *, job: JobSnapshot, **details: Any) -> None:
        super().__init__(message, **details)
        self.job = job


class JobFailed(JobError):
    """The job failed; `reason` and `violations` say why."""


class QualityGateMissed(JobFailed):
    """The result missed its gate; `missed` has a line per limit. Files and report are kept."""

    @property
    def missed(self) -> Tuple[str, ...]:
        """One line per limit that was missed."""
        result = self.job.result
        return result.missed if result else ()


class JobCancelled(JobError):
    """Somebody stopped the job."""


_BY_CODE: Dict[str, Type[QuantdError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": WrongState,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": Unavailable,
    "UNIMPLEMENTED": Unsupported,
    "DATA_LOSS": Damaged,
}


def error_from_parts(
    code: str, message: str, reason: str, violations: Sequence[Violation] = (), **details: Any
) -> QuantdError:
    """The exception of the family that a gRPC code (its name) stands for."""
    family = _BY_CODE.get(code, InternalError)
    return family(message, reason=reason, violations=violations, code=code, **details)


def _violation(entry: error_details_pb2.BadRequest.FieldViolation) -> Violation:
    text = entry.description
    if text.startswith(_GOT):
        text = text[len(_GOT) :]
    got, _, wanted = text.partition(_WANTED)
    return Violation(entry.field, got, wanted)


def _read_details(data: bytes) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for detail in status_pb2.Status.FromString(data).details:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            found["reason"] = info.reason
            found["metadata"] = dict(info.metadata)
        elif detail.Unpack(bad_request):
            found["violations"] = [_violation(entry) for entry in bad_request.field_violations]
        elif detail.Unpack(retry):
            found["retry_after"] = retry.retry_delay.ToTimedelta()
    return found


def error_from_rpc(error: grpc.RpcError, stream: bool = False) -> QuantdError:
    """The exception for a call that failed.

    A `stream` whose connection breaks ends with UNAVAILABLE, but also, depending on where it broke,
    with CANCELLED or INTERNAL, then without the details that every error of the server carries.
    """
    code = error.code().name
    found: Dict[str, Any] = {}
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == _DETAILS:
            found = _read_details(value)
    if stream and not found and code in ("CANCELLED", "INTERNAL"):
        code = "UNAVAILABLE"
    reason = found.pop("reason", "UNAVAILABLE" if _BY_CODE.get(code) is Unavailable else "")
    return error_from_parts(code, error.details() or code, reason, **found)


def error_of_job(job: JobSnapshot) -> Optional[JobError]:
    """The exception that a final job stands for; None: it succeeded, or is not final."""
    message = job.message
    if message.state == job_pb2.Job.CANCELLED:
        return JobCancelled(f"{job.name} was cancelled", job=job, reason="CANCELLED")
    if message.state != job_pb2.Job.FAILED:
        return None
    why = message.error
    family = QualityGateMissed if why.reason == "QUALITY_GATE" else JobFailed
    return family(
        f"{job.name} failed: {why.message}",
        job=job,
        reason=why.reason,
        violations=[Violation(entry.where, entry.got, entry.wanted) for entry in why.violations],
        metadata={"fault": "user" if why.user_fault else "system"},
    )


def is_transient(error: QuantdError) -> bool:
    """Whether the same call may succeed later without anybody changing it.

    The server is away or going, or it says itself when to come again.
    """
    return isinstance(error, Unavailable) or error.retry_after is not None
