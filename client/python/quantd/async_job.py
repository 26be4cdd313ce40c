"""A job of a server, to await, read and download; the mirror of job.py."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, AsyncIterator, List, Optional, Union

from quantd import calls
from quantd.download import OnBytes
from quantd.event import Event
from quantd.job_steps import JobSteps
from quantd.progress import Show, display_for
from quantd.report import Report
from quantd.snapshot import ArtifactFile, JobSnapshot, JobState, Plan, Result

if TYPE_CHECKING:
    from quantd.async_client import AsyncClient


class AsyncJob:
    """A handle. What it says (`state`, `result`, …) is as of the last call that asked."""

    def __init__(self, client: AsyncClient, snapshot: JobSnapshot) -> None:
        self._client = client
        self.snapshot = snapshot
        """The job as it was seen last."""

    def __repr__(self) -> str:
        return f"AsyncJob({self.name!r}, {self.state.value})"

    @property
    def name(self) -> str:
        """jobs/{id}."""
        return self.snapshot.name

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return self.snapshot.state

    @property
    def plan(self) -> Plan:
        """What will be, or was, done."""
        return self.snapshot.plan

    @property
    def result(self) -> Optional[Result]:
        """What came out, also when the gate was missed; None before."""
        return self.snapshot.result

    @property
    def _steps(self) -> JobSteps:
        return JobSteps(self.name, self._client.retry)

    async def refresh(self) -> AsyncJob:
        """Asks for its present state."""
        self.snapshot = await self._client.run(calls.get(self.name, self._client.retry))
        return self

    def events(
        self, after_sequence: int = 0, timeout: Optional[float] = None
    ) -> AsyncIterator[Event]:
        """What happens to it, from the start, then live, to its end.

        Each event comes once, in order, however often the connection breaks. Raises WaitTimeout
        when the job is not final after `timeout` seconds.
        """
        return self._client.iterate(self._steps.watch(after_sequence, timeout))

    async def wait(
        self, *, timeout: Optional[float] = None, progress: Show = None, check: bool = True
    ) -> AsyncJob:
        """Returns when it is final.

        `progress`: None shows a bar in a terminal or notebook (quantd[progress]), True always
        shows something, False nothing, a function is called with each event. Raises WaitTimeout
        after `timeout` seconds; with `check`, JobFailed, QualityGateMissed or JobCancelled.
        """
        display = display_for(progress, self.name)
        steps = self._steps.watch(0, timeout, display.on_break if display else None)
        try:
            async for event in self._client.iterate(steps):
                if display is not None:
                    display(event)
        finally:
            if display is not None:
                display.close()
        await self.refresh()
        if check:
            self.check()
        return self

    def check(self) -> None:
        """Raises what it ended with: JobFailed, QualityGateMissed, JobCancelled."""
        self._steps.check(self.snapshot)

    async def files(self) -> List[ArtifactFile]:
        """The files that are finished so far, in order of path."""
        return await self._client.run(calls.list_files(self.name, self._client.retry))

    async def download(
        self,
        out: Union[str, os.PathLike[str]],
        *,
        force: bool = False,
        on_bytes: Optional[OnBytes] = None,
    ) -> pathlib.Path:
        """Fetches the artifact of a job that succeeded, or missed its gate alone, into a folder.

        What is there already and is the same is kept, what broke off is resumed. The folder must
        be new or hold nothing else; with `force` the result that it holds is replaced.
        """
        await self.refresh()
        folder = pathlib.Path(out)
        await self._client.run(self._steps.download(self.snapshot, folder, force, on_bytes))
        return folder

    async def read(self, path: str) -> bytes:
        """One file of the artifact, in memory, checked."""
        return await self._client.run(self._steps.read(path))

    async def report(self) -> Report:
        """What was done, how good it is, what it took; of a finished job."""
        return await self._client.run(self._steps.report())

    async def cancel(self) -> AsyncJob:
        """Asks for it to stop; `wait(check=False)` waits until it has."""
        self.snapshot = await self._client.run(calls.cancel(self.name, self._client.retry))
        return self

    async def delete(self) -> None:
        """Removes it and its files from the server; it must be final."""
        await self._client.run(calls.delete(self.name, self._client.retry))
