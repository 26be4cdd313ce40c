"""What happens to a job, in order. `sequence` counts from 1 without gaps."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Dict, Optional, Union

from quantd.snapshot import ArtifactFile, JobState, Progress, Result
from quantd.v1 import events_pb2


@dataclass(frozen=True)
class _Event:
    sequence: int
    time: datetime.datetime
    attempt: int
    """0 before the first."""


@dataclass(frozen=True)
class StateChanged(_Event):
    """The job entered a state."""

    state: JobState
    worker: str
    """Who took it, for RUNNING."""
    reason: str
    """Why, for FAILED and for a return to PENDING."""
    message: str


@dataclass(frozen=True)
class Progressed(_Event):
    """The work is further."""

    progress: Progress


@dataclass(frozen=True)
class LayerDone(_Event):
    """One linear is quantized."""

    module: str
    method: str
    bits: int
    weight_snr_db: float
    relative_output_error: Optional[float]
    figures: Dict[str, float]


@dataclass(frozen=True)
class FileSealed(_Event):
    """A file can be read from now on."""

    file: ArtifactFile


@dataclass(frozen=True)
class Warned(_Event):
    """Something the user should know."""

    text: str


@dataclass(frozen=True)
class Finished(_Event):
    """The result; the terminal state change follows."""

    result: Result


@dataclass(frozen=True)
class UnknownEvent(_Event):
    """Something that this client is too old for."""


Event = Union[StateChanged, Progressed, LayerDone, FileSealed, Warned, Finished, UnknownEvent]


def event_from_proto(message: events_pb2.JobEvent) -> Event:
    """From the wire."""
    sequence, attempt = message.sequence, message.attempt
    time = message.time.ToDatetime(tzinfo=datetime.timezone.utc)
    kind = message.WhichOneof("event")
    if kind == "state_change":
        change = message.state_change
        return StateChanged(sequence, time, attempt, JobState.from_proto(change.state),
                            change.worker, change.error.reason, change.error.message)
    if kind == "progress":
        return Progressed(sequence, time, attempt, Progress.from_proto(message.progress))
    if kind == "layer":
        layer = message.layer
        error = layer.relative_output_error if layer.HasField("relative_output_error") else None
        return LayerDone(sequence, time, attempt, layer.module, layer.method, layer.bits,
                         layer.weight_snr_db, error, dict(layer.figures))
    if kind == "file_sealed":
        file = ArtifactFile.from_proto(message.file_sealed)
        return FileSealed(sequence, time, attempt, file)
    if kind == "warning":
        return Warned(sequence, time, attempt, message.warning.text)
    if kind == "result":
        return Finished(sequence, time, attempt, Result.from_proto(message.result))
    return UnknownEvent(sequence, time, attempt)
