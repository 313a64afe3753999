"""A clock that stands still until a test moves it."""

from __future__ import annotations

import attrs


@attrs.define
class HandClock:
    """Nanoseconds since the epoch, as :meth:`projections.Ledger.open` takes them from a clock."""

    now: int = 1_000_000

    def __call__(self) -> int:
        return self.now
