"""What the clients do, without doing it: generators that yield steps.

A generator says what is to be done next (call, receive, sleep, …) and is sent the outcome; errors
are thrown into it. `connection.py` does the steps by blocking, `async_connection.py` by awaiting;
so retries, watching and downloading are written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Generator, Iterable, Optional, TypeVar, Union

from quantd.errors import QuantdError, is_transient
from quantd.retry import Backoff, RetryPolicy
from quantd.rpc import Reply, Request, SendRpc, StreamRpc, UnaryRpc

Value = TypeVar("Value")


@dataclass(frozen=True)
class Call:
    """One try of a call; the outcome is its answer."""

    rpc: UnaryRpc[Any, Any]
    request: Any


@dataclass(frozen=True)
class Send:
    """One try of a call with many requests; the outcome is its answer."""

    rpc: SendRpc[Any, Any]
    requests: Iterable[Any]


@dataclass(frozen=True)
class Open:
    """Begin a stream; the outcome is a handle for Receive and Close."""

    rpc: StreamRpc[Any, Any]
    request: Any
    timeout: Optional[float] = None
    """Seconds until the stream is cut off; None: never."""


@dataclass(frozen=True)
class Receive:
    """The next answer of a stream; None: the server ended it."""

    stream: Any


@dataclass(frozen=True)
class Close:
    """Give a stream up, to open another. Those that are left are given up at the end."""

    stream: Any


@dataclass(frozen=True)
class Sleep:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Something that takes long without waiting, as hashing a file; the outcome is its value."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Emit:
    """Hand a value to whoever iterates."""

    value: Any


Step = Union[Call, Send, Open, Receive, Close, Sleep, Work, Emit]
Steps = Generator[Step, Any, Value]


def call(rpc: UnaryRpc[Request, Reply], request: Request, policy: RetryPolicy) -> Steps[Reply]:
    """A call that is tried again while the error is transient and patience lasts."""
    backoff = Backoff(policy, policy.patience)
    while True:
        try:
            reply: Reply = yield Call(rpc, request)
            return reply
        except QuantdError as error:
            wait = backoff.next(error) if is_transient(error) else None
            if wait is None:
                raise
        yield Sleep(wait)


def work(function: Callable[[], Value]) -> Steps[Value]:
    """A step with the type of its outcome."""
    value: Value = yield Work(function)
    return value
