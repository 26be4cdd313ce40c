"""What a job looks like at a moment."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from quantd.choices import word_of
from quantd.errors import Violation
from quantd.report import Evaluation
from quantd.v1 import job_pb2


class JobState(str, enum.Enum):
    """Where a job stands."""

    UNKNOWN = "unknown"
    """A state that this client is too old for."""
    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether it will stay like this."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

    @classmethod
    def from_proto(cls, number: int) -> JobState:
        """From the wire."""
        names = job_pb2.Job.State.keys()
        values = job_pb2.Job.State.values()
        known = {value: name.lower() for name, value in zip(names, values) if value}
        return cls(known.get(number, "unknown"))


@dataclass(frozen=True)
class Progress:
    """How far the work is."""

    stage: str
    """open, calibrate, quantize, evaluate, write or done."""
    blocks_done: int
    blocks_total: int
    tokens: int
    """Pushed through the forward pass so far."""
    bytes_read: int
    bytes_written: int
    remaining: Optional[datetime.timedelta]
    """Estimate; None: not known."""

    @classmethod
    def from_proto(cls, message: job_pb2.Progress) -> Progress:
        """From the wire."""
        return cls(
            stage=word_of(job_pb2.Stage, message.stage),
            blocks_done=message.blocks_done,
            blocks_total=message.blocks_total,
            tokens=message.tokens,
            bytes_read=message.bytes_read,
            bytes_written=message.bytes_written,
            remaining=message.remaining_time.ToTimedelta()
            if message.HasField("remaining_time") else None,
        )


@dataclass(frozen=True)
class Plan:
    """What will be done, known before any work."""

    family: str
    format: str
    parameters: int
    blocks: int
    bytes_original: int
    artifact_bytes: int
    bits_per_weight: float
    peak_memory_bytes: int
    """Estimate."""
    estimated_run_time: datetime.timedelta
    calibration_windows: int
    warnings: Tuple[str, ...]
    schemes: Dict[str, Optional[str]]
    """Linear -> method and bits, as "awq 4"; None: stays in 16 bit."""

    @classmethod
    def from_proto(cls, message: job_pb2.Plan) -> Plan:
        """From the wire."""
        return cls(
            family=message.family,
            format=message.format,
            parameters=message.parameters,
            blocks=message.blocks,
            bytes_original=message.bytes_original,
            artifact_bytes=message.artifact_bytes,
            bits_per_weight=message.bits_per_weight,
            peak_memory_bytes=message.peak_memory_bytes,
            estimated_run_time=message.estimated_run_time.ToTimedelta(),
            calibration_windows=message.calibration_windows,
            warnings=tuple(message.warnings),
            schemes={one.name: f"{one.scheme.method} {one.scheme.bits}"
                     if one.HasField("scheme") else None for one in message.linears},
        )


@dataclass(frozen=True)
class Result:
    """What came out; `Job.report` has more."""

    passed: bool
    """Whether the gate was reached; True without one."""
    missed: Tuple[str, ...]
    """One line per limit missed."""
    evaluation: Optional[Evaluation]
    bits_per_weight: float
    compression_ratio: float
    bytes_original: int
    bytes_quantized: int
    run_time: datetime.timedelta
    peak_memory_bytes: int
    format: str
    engine_version: str
    model_digest: str
    warnings: Tuple[str, ...]

    @classmethod
    def from_proto(cls, message: job_pb2.JobResult) -> Result:
        """From the wire."""
        evaluation = message.evaluation
        return cls(
            passed=message.gate.passed,
            missed=tuple(message.gate.missed),
            evaluation=Evaluation(
                tokens=evaluation.tokens,
                perplexity_original=evaluation.perplexity_original,
                perplexity_quantized=evaluation.perplexity_quantized,
                kl_mean=evaluation.kl_mean,
                kl_p99=evaluation.kl_p99,
                top1_agreement=evaluation.top1_agreement,
            ) if message.HasField("evaluation") else None,
            bits_per_weight=message.bits_per_weight,
            compression_ratio=message.compression_ratio,
            bytes_original=message.bytes_original,
            bytes_quantized=message.bytes_quantized,
            run_time=message.run_time.ToTimedelta(),
            peak_memory_bytes=message.peak_memory_bytes,
            format=message.format,
            engine_version=message.engine_version,
            model_digest=message.model_digest,
            warnings=tuple(message.warnings),
        )


@dataclass(frozen=True)
class ArtifactFile:
    """A finished file of the artifact."""

    path: str
    """Relative to the folder of the artifact."""
    bytes: int
    sha256: str

    @classmethod
    def from_proto(cls, message: job_pb2.ArtifactFile) -> ArtifactFile:
        """From the wire."""
        return cls(message.path, message.bytes, message.sha256)


@dataclass(frozen=True)
class JobSnapshot:
    """A job at a moment."""

    message: job_pb2.Job
    """As it came over the wire."""

    def __repr__(self) -> str:
        return f"JobSnapshot({self.name!r}, {self.state.value})"

    @property
    def name(self) -> str:
        """jobs/{id}."""
        return self.message.name

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return JobState.from_proto(self.message.state)

    @property
    def labels(self) -> Dict[str, str]:
        """What it can be found by."""
        return dict(self.message.labels)

    @property
    def model(self) -> str:
        """Where the model is."""
        return self.message.model

    @property
    def method(self) -> str:
        """Of the default scheme."""
        return self.message.method

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.message.tenant

    @property
    def reused(self) -> bool:
        """In the answer to `quantize`: an earlier, identical request made this job."""
        return self.message.reused

    @property
    def attempts(self) -> int:
        """How often it was begun."""
        return self.message.attempts

    @property
    def created(self) -> datetime.datetime:
        """When the server had made it durable."""
        return _time(self.message.create_time)

    @property
    def ended(self) -> Optional[datetime.datetime]:
        """When its state became final."""
        return _time(self.message.end_time) if self.message.HasField("end_time") else None

    @property
    def progress(self) -> Progress:
        """Of the present or last attempt."""
        return Progress.from_proto(self.message.progress)

    @property
    def plan(self) -> Plan:
        """What will be, or was, done."""
        return Plan.from_proto(self.message.plan)

    @property
    def result(self) -> Optional[Result]:
        """What came out, also when the gate was missed; None before."""
        if not self.message.HasField("result"):
            return None
        return Result.from_proto(self.message.result)

    @property
    def reason(self) -> str:
        """Of a failed job, as docs/errors.md lists them."""
        return self.message.error.reason

    @property
    def violations(self) -> Tuple[Violation, ...]:
        """Of a failed job: what was wrong, where."""
        return tuple(Violation(one.where, one.got, one.wanted)
                     for one in self.message.error.violations)

    @property
    def keeps_files(self) -> bool:
        """Whether there is a whole artifact: it succeeded, or missed its gate alone."""
        return self.state is JobState.SUCCEEDED or self.reason == "QUALITY_GATE"


def _time(stamp: Any) -> datetime.datetime:
    made: datetime.datetime = stamp.ToDatetime(tzinfo=datetime.timezone.utc)
    return made
