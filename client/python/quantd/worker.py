"""A process that runs jobs, as admins see it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Tuple

from quantd.choices import word_of
from quantd.v1 import job_pb2
from quantd.v1 import quantization_service_pb2 as api


@dataclass(frozen=True)
class Worker:
    """A worker that was seen in the last day."""

    name: str
    state: str
    """idle, busy, draining or lost."""
    last_seen: datetime.datetime
    job: str
    """The job it runs, or empty."""
    backends: Tuple[str, ...]
    threads: int
    memory_bytes: int
    engine_version: str
    isa: str

    @classmethod
    def from_proto(cls, message: api.Worker) -> Worker:
        """From the wire."""
        states = api.Worker.State
        known = {value: name.lower() for name, value in zip(states.keys(), states.values())}
        return cls(
            name=message.name,
            state=known.get(message.state, "unknown"),
            last_seen=message.last_seen_time.ToDatetime(tzinfo=datetime.timezone.utc),
            job=message.job,
            backends=tuple(word_of(job_pb2.BackendKind, one) for one in message.backends),
            threads=message.threads,
            memory_bytes=message.memory_bytes,
            engine_version=message.engine_version,
            isa=message.isa,
        )
