"""Steps done by awaiting; the mirror of connection.py."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Dict, Optional, Set

import grpc
import grpc.aio

from quantd.connection import Outcome, channel_options
from quantd.credentials import Credentials
from quantd.errors import error_from_rpc
from quantd.steps import Call, Close, Emit, Open, Receive, Send, Sleep, Step, Steps, Value, Work

_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class AsyncConnection:
    """One channel of the running loop, and how it does steps."""

    def __init__(self, server: str, credentials: Credentials, deadline: float) -> None:
        self.server = server
        self._metadata = credentials.metadata()
        self._deadline = deadline
        self._security = credentials.channel_credentials(server)
        self._open: Any = None
        self._calls: Dict[str, Any] = {}

    @property
    def _channel(self) -> Any:
        # Made by the first call: a channel belongs to the loop that runs then.
        if self._open is None:
            options = channel_options(self.server)
            if self._security is None:
                self._open = grpc.aio.insecure_channel(self.server, options)
            else:
                self._open = grpc.aio.secure_channel(self.server, self._security, options)
        return self._open

    async def close(self) -> None:
        """Ends all calls."""
        if self._open is not None:
            await self._open.close()

    async def run(self, steps: Steps[Value]) -> Value:
        """Does all steps; what they emit is dropped."""
        done = Outcome[Value]()
        async for _ in self._advance(steps, done):
            pass
        return done.value

    def iterate(self, steps: Steps[Any]) -> AsyncIterator[Any]:
        """Does the steps as far as the next value that they emit."""
        return self._advance(steps, None)

    async def _advance(
        self, steps: Steps[Any], done: Optional[Outcome[Any]]
    ) -> AsyncIterator[Any]:
        streams: Set[Any] = set()
        try:
            step = next(steps)
            while True:
                if isinstance(step, Emit):
                    yield step.value
                    step = steps.send(None)
                    continue
                try:
                    result = await self._do(step, streams)
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

    async def _do(self, step: Step, streams: Set[Any]) -> Any:
        if isinstance(step, Call):
            try:
                return await self._callable(step.rpc, self._channel.unary_unary)(
                    step.request, timeout=self._deadline, metadata=self._metadata)
            except grpc.RpcError as error:
                raise error_from_rpc(error) from None
        if isinstance(step, Send):
            try:
                return await self._callable(step.rpc, self._channel.stream_unary)(
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
                message = await step.stream.read()
            except grpc.RpcError as error:
                raise error_from_rpc(error, stream=True) from None
            return None if message is _END else message
        if isinstance(step, Close):
            step.stream.cancel()
            streams.discard(step.stream)
        elif isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Work):
            return await asyncio.get_running_loop().run_in_executor(None, step.function)
        return None

    def _callable(self, rpc: Any, make: Any) -> Any:
        if rpc.path not in self._calls:
            self._calls[rpc.path] = make(
                rpc.path, request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.reply.FromString)
        return self._calls[rpc.path]
