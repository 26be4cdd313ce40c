"""A job's progress for whoever watches: a bar of tqdm in a terminal or notebook, else lines.

>>> display_for(False, "jobs/a") is None
True
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Optional, TextIO, Union

from quantd.event import Event, LayerDone, Progressed, StateChanged, Warned
from quantd.snapshot import JobState

Show = Union[None, bool, Callable[[Event], None]]
"""None: in a terminal or notebook; True: always, as lines where there is none; or a function."""


class Display:
    """Shows events until it is closed."""

    def __init__(self, job: str, stream: Optional[TextIO] = None, bar: bool = True) -> None:
        self._job = job
        self._stream = stream or sys.stderr
        self._bar: Any = self._new_bar() if bar else None
        self._said = ""
        self._layers = 0
        self._tenth = 0

    def _new_bar(self) -> Any:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return None
        return tqdm(desc=self._job, unit="block", total=None, file=self._stream)

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        if isinstance(event, StateChanged):
            self._say(_words(event))
        elif isinstance(event, Warned):
            self._note(f"warning: {event.text}")
        elif isinstance(event, LayerDone):
            self._layers += 1
            if self._bar is not None:
                self._bar.set_postfix_str(f"{self._layers} linears", refresh=False)
        elif isinstance(event, Progressed):
            progress = event.progress
            if self._bar is not None:
                if progress.blocks_total and self._bar.total != progress.blocks_total:
                    # Of a notebook's bar the width too.
                    self._bar.reset(total=progress.blocks_total)
                self._bar.n = progress.blocks_done
                self._say(progress.stage)
            elif progress.blocks_total:
                tenth = 10 * progress.blocks_done // progress.blocks_total
                if tenth > self._tenth:
                    self._tenth = tenth
                    self._say(f"{progress.blocks_done} of {progress.blocks_total} blocks")

    def on_break(self, error: Exception) -> None:
        """The connection broke and is being made anew."""
        del error
        self._say("no connection; trying again")

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _say(self, words: str) -> None:
        if self._bar is not None:
            self._bar.set_description(f"{self._job} {words}", refresh=False)
            self._bar.refresh()
        elif words != self._said:
            self._note(f"{self._job}: {words}")
        self._said = words

    def _note(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)


def _words(event: StateChanged) -> str:
    if event.state is JobState.PENDING:
        if event.reason:
            return f"attempt failed ({event.reason}); waiting to try again"
        return "waiting for a worker"
    if event.state is JobState.RUNNING and event.worker:
        return f"starting on {event.worker.rpartition('/')[2]}"
    return str(event.state.value)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None else None
    return found is not None and hasattr(found, "kernel")


class _Function:
    """Somebody's function in the place of a display."""

    def __init__(self, function: Callable[[Event], None]) -> None:
        self._function = function

    def __call__(self, event: Event) -> None:
        self._function(event)

    def on_break(self, error: Exception) -> None:
        """Nobody asked."""

    def close(self) -> None:
        """Nothing to close."""


def display_for(show: Show, job: str) -> Union[Display, _Function, None]:
    """What `wait(progress=show)` shows events with; None: nothing."""
    if show is False:
        return None
    if callable(show):
        return _Function(show)
    lively = _in_notebook() or sys.stderr.isatty()
    if show is None and not lively:
        return None
    return Display(job, bar=lively)
