"""Steps done by blocking."""

from __future__ import annotations

import time
from typing import Any, Dict, Generic, Iterator, List, Optional, Set, Tuple

import grpc

from quantd.credentials import Credentials, is_this_machine
from quantd.errors import error_from_rpc
from quantd.steps import Call, Close, Emit, Open, Receive, Send, Sleep, Step, Steps, Value, Work

# Larger than any message that the server sends (limits.message_bytes is 4 MiB by default).
_MAX_MESSAGE_BYTES = 64 << 20
_RECONNECT_FIRST_MS, _RECONNECT_LONGEST_MS = 100, 2000
# The server accepts a ping every 10 s.
_PING_MS, _PONG_MS = 30_000, 10_000


def channel_options(server: str) -> List[Tuple[str, int]]:
    """What both kinds of channel are made with."""
    options = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        # A server that restarts is found again in seconds; gRPC's default waits up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_FIRST_MS),
        ("grpc.min_reconnect_backoff_ms", _RECONNECT_LONGEST_MS),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_LONGEST_MS),
        # A watch of a long job is silent for minutes; without pings a machine that is gone looks
        # the same.
        ("grpc.keepalive_time_ms", _PING_MS),
        ("grpc.keepalive_timeout_ms", _PONG_MS),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if is_this_machine(server):
        # A proxy of the environment is for other machines.
        options.append(("grpc.enable_http_proxy", 0))
    return options


class Outcome(Generic[Value]):
    """Where steps leave what they return."""

    value: Value


class Connection:
    """One channel, and how it does steps. Thread-safe."""

    def __init__(self, server: str, credentials: Credentials, deadline: float) -> None:
        self.server = server
        self._metadata = credentials.metadata()
        self._deadline = deadline
        security = credentials.channel_credentials(server)
        options = channel_options(server)
        if security is None:
            self._channel = grpc.insecure_channel(server, options)
        else:
            self._channel = grpc.secure_channel(server, security, options)
        self._calls: Dict[str, Any] = {}

    def close(self) -> None:
        """Ends all calls."""
        self._channel.close()

    def run(self, steps: Steps[Value]) -> Value:
        """Does all steps; what they emit is dropped."""
        done = Outcome[Value]()
        for _ in self._advance(steps, done):
            pass
        return done.value

    def iterate(self, steps: Steps[Any]) -> Iterator[Any]:
        """Does the steps as far as the next value that they emit."""
        return self._advance(steps, None)

    def _advance(self, steps: Steps[Any], done: Optional[Outcome[Any]]) -> Iterator[Any]:
        streams: Set[Any] = set()
        try:
            step = next(steps)
            while True:
                if isinstance(step, Emit):
                    yield step.value
                    step = steps.send(None)
                    continue
                try:
                    result = self._do(step, streams)
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            if done is not None:
                done.value = stop.value
        finally:
            for stream in streams:
                stream.cancel()

    def _do(self, step: Step, streams: Set[Any]) -> Any:
        if isinstance(step, Call):
            try:
                return self._callable(step.rpc, self._channel.unary_unary)(
                    step.request, timeout=self._deadline, metadata=self._metadata)
            except grpc.RpcError as error:
                raise error_from_rpc(error) from None
        if isinstance(step, Send):
            try:
                return self._callable(step.rpc, self._channel.stream_unary)(
                    iter(step.requests), metadata=self._metadata)
            except grpc.RpcError as error:
                raise error_from_rpc(error, stream=True) from None
        if isinstance(step, Open):
            stream = self._callable(step.rpc, self._channel.unary_stream)(
                step.request, timeout=step.timeout, metadata=self._metadata)
            streams.add(stream)
            return stream
        if isinstance(step, Receive):
            try:
                return next(step.stream, None)
            except grpc.RpcError as error:
                raise error_from_rpc(error, stream=True) from None
        if isinstance(step, Close):
            step.stream.cancel()
            streams.discard(step.stream)
        elif isinstance(step, Sleep):
            time.sleep(step.seconds)
        elif isinstance(step, Work):
            return step.function()
        return None

    def _callable(self, rpc: Any, make: Any) -> Any:
        if rpc.path not in self._calls:
            self._calls[rpc.path] = make(
                rpc.path, request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.reply.FromString)
        return self._calls[rpc.path]
