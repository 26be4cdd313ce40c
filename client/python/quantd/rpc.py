"""What a call of the API is: its path and the types of its messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Type, TypeVar

Request = TypeVar("Request")
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class UnaryRpc(Generic[Request, Reply]):
    """A call with one answer."""

    path: str
    request: Type[Request]
    reply: Type[Reply]


@dataclass(frozen=True)
class SendRpc(Generic[Request, Reply]):
    """A call with a stream of requests and one answer."""

    path: str
    request: Type[Request]
    reply: Type[Reply]


@dataclass(frozen=True)
class StreamRpc(Generic[Request, Reply]):
    """A call with a stream of answers."""

    path: str
    request: Type[Request]
    reply: Type[Reply]
