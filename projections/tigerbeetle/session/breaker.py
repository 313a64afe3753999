"""When to try again: a circuit breaker with exponential backoff and full jitter.

https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
"""

from __future__ import annotations

import random
from typing import Final

BACKOFF_SECONDS_MIN: Final = 0.25
BACKOFF_SECONDS_MAX: Final = 30.0


class Breaker:
    """Closed while all is well; opened by a failure, each time for longer, until one success."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()  # noqa: S311  # nothing secret about it
        self.failures = 0
        """In a row."""

    @property
    def is_open(self) -> bool:
        return self.failures > 0

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self) -> float:
        """Count a failure; return how many seconds to wait before the next attempt."""
        self.failures += 1
        bound = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2.0 ** min(self.failures, 16))
        return self._chance.uniform(BACKOFF_SECONDS_MIN, bound)
