"""The events of a job, every one once and in order, however often the connection breaks."""

from __future__ import annotations

import time
from typing import Callable, Optional

from quantd.errors import QuantdError, Unavailable, WaitTimeout, is_transient
from quantd.event import Event, StateChanged, event_from_proto
from quantd.retry import Backoff, RetryPolicy
from quantd.snapshot import JobState
from quantd.steps import Close, Emit, Open, Receive, Sleep, Steps, call
from quantd.v1 import quantization_service_pb2 as api
from quantd.v1 import quantization_service_rpc as rpcs


class Deadline:
    """When somebody stops waiting; never, without seconds."""

    def __init__(
        self, seconds: Optional[float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._end = None if seconds is None else clock() + seconds

    def left(self) -> Optional[float]:
        """Seconds, 0 when it has passed; None: for ever."""
        return None if self._end is None else max(self._end - self._clock(), 0.0)

    def check(self, job: str) -> None:
        """Raises WaitTimeout when it has passed."""
        if self._end is not None and self._clock() >= self._end:
            raise WaitTimeout(f"{job} was not final after {self._seconds:g} s; it goes on")


def watch(
    job: str,
    policy: RetryPolicy,
    after_sequence: int = 0,
    timeout: Optional[float] = None,
    on_break: Optional[Callable[[QuantdError], None]] = None,
) -> Steps[None]:
    """Emits each event after `after_sequence`, ends after the one that makes the job final.

    `on_break` is told about each connection that broke. Raises WaitTimeout; Unavailable after
    `policy.stream_patience` without an event; what the server refuses.
    """
    deadline = Deadline(timeout)
    backoff = Backoff(policy, policy.stream_patience)
    last = after_sequence
    while True:
        deadline.check(job)
        request = api.WatchJobRequest(name=job, after_sequence=last)
        stream = yield Open(rpcs.WatchJob, request, deadline.left())
        try:
            while True:
                message = yield Receive(stream)
                if message is None:
                    break
                if message.sequence <= last:
                    continue
                if message.sequence != last + 1:
                    raise Unavailable(f"event {message.sequence} came after event {last}",
                                      reason="UNAVAILABLE")
                last = message.sequence
                backoff.reset()
                event: Event = event_from_proto(message)
                yield Emit(event)
                if isinstance(event, StateChanged) and event.state.final:
                    return
            # A job that was final before after_sequence has nothing more to tell.
            asked = api.GetJobRequest(name=job, view=api.JOB_VIEW_BASIC)
            found = yield from call(rpcs.GetJob, asked, policy)
            if JobState.from_proto(found.state).final and found.last_sequence <= last:
                return
            raise Unavailable("the server ended the stream", reason="UNAVAILABLE")
        except QuantdError as error:
            deadline.check(job)
            wait = backoff.next(error) if is_transient(error) else None
            if wait is None:
                raise
            if on_break is not None:
                on_break(error)
        yield Close(stream)
        left = deadline.left()
        yield Sleep(wait if left is None else min(wait, left))
