"""What can be done with one job, as steps; the handles of both clients do them."""

from __future__ import annotations

import pathlib
from typing import Callable, Optional

from quantd import calls, download, out_folder, report, watch
from quantd.errors import QuantdError, Violation, WrongState, error_of_job
from quantd.retry import RetryPolicy
from quantd.snapshot import JobSnapshot
from quantd.steps import Steps, work


class JobSteps:
    """Of the job of this name."""

    def __init__(self, name: str, policy: RetryPolicy) -> None:
        self._name = name
        self._policy = policy

    def watch(
        self,
        after_sequence: int,
        timeout: Optional[float],
        on_break: Optional[Callable[[QuantdError], None]] = None,
    ) -> Steps[None]:
        """Emits its events."""
        return watch.watch(self._name, self._policy, after_sequence, timeout, on_break)

    def check(self, snapshot: JobSnapshot) -> None:
        """Raises what it ended with."""
        error = error_of_job(snapshot)
        if error is not None:
            raise error

    def download(
        self,
        snapshot: JobSnapshot,
        folder: pathlib.Path,
        force: bool,
        on_bytes: Optional[download.OnBytes],
    ) -> Steps[None]:
        """All its files, into a folder that may take them."""
        if not snapshot.keeps_files:
            self.check(snapshot)
            raise WrongState(
                "the job has no artifact yet", reason="WRONG_STATE",
                violations=[Violation(self._name, snapshot.state.value, "wait() first")])
        files = yield from calls.list_files(self._name, self._policy)
        if force:
            yield from work(lambda: out_folder.remove_older_result(folder, files))
        else:
            yield from work(lambda: out_folder.check_folder(folder, files))
        folder.mkdir(parents=True, exist_ok=True)
        yield from download.download(self._name, files, folder, self._policy, on_bytes)

    def read(self, path: str) -> Steps[bytes]:
        """One file, in memory."""
        # A stream waits long for a server that went away; one that was never there is told at once.
        yield from calls.get(self._name, self._policy)
        return (yield from download.read_bytes(self._name, path, self._policy))

    def report(self) -> Steps[report.Report]:
        """Its report."""
        return report.Report.from_json((yield from self.read(report.PATH)))
