"""A client of quantd for asyncio; the mirror of client.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, AsyncIterator, List, Mapping, Optional, Union

from quantd import calls, upload
from quantd.async_connection import AsyncConnection
from quantd.async_job import AsyncJob
from quantd.capabilities import Capabilities
from quantd.credentials import Credentials, find_credentials, server_address
from quantd.retry import RetryPolicy
from quantd.snapshot import JobState, Plan
from quantd.source import Model
from quantd.steps import Steps, Value
from quantd.upload import Collection, OnSent, Upload
from quantd.worker import Worker

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from quantd.spec import QuantizeOptions


class AsyncClient:
    """A connection to a server, of the loop that runs when it is first called.

    Without `server`: QUANTD_SERVER, else what quantctl is configured for, else 127.0.0.1:8470. So
    are tokens and TLS found (`quantd.credentials`). Ends with `close()` or an `async with` block.

    >>> AsyncClient("127.0.0.1:8470")
    AsyncClient('127.0.0.1:8470')
    """

    def __init__(
        self,
        server: Optional[str] = None,
        *,
        token: str = "",
        token_file: Optional[str] = None,
        tls_ca: str = "",
        tls_cert: str = "",
        tls_key: str = "",
        tenant: str = "",
        insecure: bool = False,
        retry: Optional[RetryPolicy] = None,
        deadline: float = 30.0,
    ) -> None:
        """`deadline`: seconds for one try of a call that does not stream."""
        self.server = server_address(server)
        """HOST:PORT, or another target of gRPC."""
        self.retry = retry or RetryPolicy()
        """How long is tried."""
        given = Credentials(token, tls_ca, tls_cert, tls_key, tenant, insecure)
        found = find_credentials(self.server, given, token_file)
        self._connection = AsyncConnection(self.server, found, deadline)

    def __repr__(self) -> str:
        return f"AsyncClient({self.server!r})"

    async def __aenter__(self) -> AsyncClient:
        """Gives itself."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Closes the connection."""
        await self.close()

    async def close(self) -> None:
        """Closes the connection; jobs go on."""
        await self._connection.close()

    async def run(self, steps: Steps[Value]) -> Value:
        """Does steps of this package; what they emit is dropped."""
        return await self._connection.run(steps)

    def iterate(self, steps: Steps[Any]) -> AsyncIterator[Any]:
        """Does steps of this package as far as the next value that they emit."""
        return self._connection.iterate(steps)

    async def capabilities(self) -> Capabilities:
        """Methods, formats, families and limits of the server."""
        return await self.run(calls.capabilities(self.retry))

    async def quantize(self, model: Model, **options: Unpack[QuantizeOptions]) -> AsyncJob:
        """Submits a job and returns at once; the job is durable when it does.

        `model`: a folder or GGUF file as the server sees it, "models/{id}", "s3://…", or a
        repository of a hub (`quantd.source`). `options`: `quantd.spec.QuantizeOptions`. Raises
        InvalidRequest with what was wrong where, and what else the server refuses.
        """
        return AsyncJob(self, await self.run(calls.create(model, options, self.retry)))

    async def validate(self, model: Model, **options: Unpack[QuantizeOptions]) -> Plan:
        """Checks what `quantize` would, and says what it would do; nothing is made."""
        return await self.run(calls.validate(model, options, self.retry))

    async def job(self, name: str) -> AsyncJob:
        """A job by its name, "jobs/{id}" or the id alone. Raises NotFound."""
        return AsyncJob(self, await self.run(calls.get(name, self.retry)))

    async def jobs(
        self,
        *,
        state: Optional[JobState] = None,
        labels: Optional[Mapping[str, str]] = None,
        filter: str = "",
        limit: Optional[int] = None,
    ) -> AsyncIterator[AsyncJob]:
        """Jobs, newest first; all conditions must hold.

        `filter`: conditions joined by AND on state, method, model, labels.KEY and create_time:
        'method = "rtn" AND create_time > "2026-01-01T00:00:00Z"'.
        """
        condition = calls.job_filter(state, labels, filter)
        async for snapshot in self.iterate(calls.list_jobs(condition, limit, self.retry)):
            yield AsyncJob(self, snapshot)

    async def push_model(
        self,
        path: Union[str, os.PathLike[str]],
        name: Optional[str] = None,
        on_bytes: Optional[OnSent] = None,
    ) -> Upload:
        """Sends a model folder or .gguf file of this machine; `quantize` takes what it returns.

        What the server holds already is not sent, what broke off is gone on with. `name`:
        lower-case letters, digits and "-"; default: made of the path's last part.
        """
        return await self.run(upload.push("models", path, name, self.retry, on_bytes))

    async def push_dataset(
        self,
        path: Union[str, os.PathLike[str]],
        name: Optional[str] = None,
        on_bytes: Optional[OnSent] = None,
    ) -> Upload:
        """The same for a text, JSONL, JSON or CSV file, to calibrate or evaluate with."""
        return await self.run(upload.push("datasets", path, name, self.retry, on_bytes))

    async def uploads(self, collection: Collection = "models") -> List[Upload]:
        """What has been sent, in order of name."""
        return await self.run(upload.list_uploads(collection, self.retry))

    async def delete_upload(self, name: str) -> None:
        """Removes "models/{id}" or "datasets/{id}"; no open job may use it."""
        await self.run(upload.delete(name, self.retry))

    async def workers(self) -> List[Worker]:
        """Who runs jobs, for admins."""
        return await self.run(calls.list_workers(self.retry))

    async def drain(self, worker: str) -> Worker:
        """Lets a worker end what it runs, and leave; for admins."""
        return await self.run(calls.drain_worker(worker, self.retry))
