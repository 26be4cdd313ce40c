"""When to try again, and how long to wait before."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Callable, Optional

from quantd.errors import QuantdError


@dataclass(frozen=True)
class RetryPolicy:
    """How long a client tries.

    Waits double from `first_wait` to `longest_wait`, each shortened by chance to between half and
    the whole of it. A server that says how long to wait (RetryInfo) is waited for at least as long.
    """

    first_wait: float = 0.1
    """Seconds."""
    longest_wait: float = 2.0
    """Seconds."""
    patience: float = 2.0
    """Seconds since the last success; after them the error is raised."""
    stream_patience: float = 120.0
    """The same for watching and downloading, where a server that restarts is waited for."""


class Backoff:
    """The waits of one call under a policy.

    >>> from quantd.errors import Unavailable
    >>> now = [0.0]
    >>> backoff = Backoff(RetryPolicy(), 2.0, clock=lambda: now[0], chance=lambda: 1.0)
    >>> [backoff.next(Unavailable("away")) for _ in range(3)]
    [0.1, 0.2, 0.4]
    >>> now[0] = 2.0
    >>> backoff.next(Unavailable("away")) is None
    True
    """

    def __init__(
        self,
        policy: RetryPolicy,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._patience = patience
        self._clock = clock
        self._chance = chance
        self._wait = policy.first_wait
        self._failing_since: Optional[float] = None

    def next(self, error: QuantdError) -> Optional[float]:
        """Seconds to wait before the next try; None when patience is spent."""
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self._patience:
            return None
        wait = self._wait * (0.5 + 0.5 * self._chance())
        self._wait = min(self._wait * 2, self._policy.longest_wait)
        asked = error.retry_after.total_seconds() if error.retry_after else 0.0
        return max(wait, asked)

    def reset(self) -> None:
        """After a success: begins anew."""
        self._wait = self._policy.first_wait
        self._failing_since = None
