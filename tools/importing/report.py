"""What an import did, in numbers."""

from __future__ import annotations

import enum
import time
from collections import Counter

import attrs

from nostro.tools.importing.rows import BadRow


class Outcome(enum.Enum):
    COMPLETE = "complete"
    STOPPED = "stopped"
    """A bad row ended it, as asked; what came before is in."""
    INTERRUPTED = "interrupted"
    """The user or the system ended it; what came before is in."""


@attrs.frozen
class Report:
    """Counts are rows. ``date_first`` and ``date_last`` are nanoseconds, None without dates.

    ``line_last`` is the last line whose row is in, created now or before; 0 for none.
    """

    outcome: Outcome
    rows_read: int
    created: int
    already_there: int
    skipped: dict[str, int]
    accounts_created: int
    date_first: int | None
    date_last: int | None
    line_last: int
    bad_row: BadRow | None
    seconds: float

    @property
    def rows_in(self) -> int:
        return self.created + self.already_there

    @property
    def rows_per_second(self) -> float:
        return self.rows_read / self.seconds if self.seconds > 0 else 0.0


@attrs.define
class Tally:
    """The counts while the import runs."""

    rows_read: int = 0
    created: int = 0
    already_there: int = 0
    skipped: Counter[str] = attrs.field(factory=Counter)
    accounts_created: int = 0
    date_first: int | None = None
    date_last: int | None = None
    line_last: int = 0
    bad_row: BadRow | None = None
    started: float = attrs.field(factory=time.monotonic)

    def dated(self, date: int) -> None:
        self.date_first = date if self.date_first is None else min(self.date_first, date)
        self.date_last = date if self.date_last is None else max(self.date_last, date)

    def report(self, outcome: Outcome) -> Report:
        return Report(
            outcome=outcome,
            rows_read=self.rows_read,
            created=self.created,
            already_there=self.already_there,
            skipped=dict(self.skipped.most_common()),
            accounts_created=self.accounts_created,
            date_first=self.date_first,
            date_last=self.date_last,
            line_last=self.line_last,
            bad_row=self.bad_row,
            seconds=time.monotonic() - self.started,
        )
