"""What an import did, in numbers."""

from __future__ import annotations

import enum
from collections import Counter

import attrs

from nostro.tools.importing.rows import BadRow


class Outcome(enum.Enum):
    COMPLETE = "complete"
    STOPPED = "stopped"
    """A bad row ended it, as asked; what came before is in."""
    INTERRUPTED = "interrupted"
    """The user or the system ended it; what came before is in."""


@attrs.define
class Report:
    """Counts of rows, up to date at every moment of the import.

    Attributes:
        ignored: how many rows the mapping leaves out.
        skipped: how many rows were left out, by reason; at the end, the most frequent first.
        date_first: nanoseconds, None without dates; ``date_last`` the same.
        line_last: the last line whose row is in, created now or before; 0 for none.
        outcome, seconds: set at the end.
    """

    outcome: Outcome = Outcome.INTERRUPTED
    rows_read: int = 0
    created: int = 0
    already_there: int = 0
    ignored: int = 0
    skipped: Counter[str] = attrs.field(factory=Counter)
    accounts_created: int = 0
    date_first: int | None = None
    date_last: int | None = None
    line_last: int = 0
    bad_row: BadRow | None = None
    seconds: float = 0.0

    @property
    def rows_in(self) -> int:
        return self.created + self.already_there

    @property
    def rows_counted(self) -> int:
        """How many rows are in the counts of what became of them."""
        return self.rows_in + sum(self.skipped.values())

    @property
    def rows_per_second(self) -> float:
        return self.rows_read / self.seconds if self.seconds > 0 else 0.0

    def of_a_rehearsal(self) -> Report:
        """Return the report of an import that a rehearsal kept from posting anything."""
        return Report(
            outcome=self.outcome,
            rows_read=self.rows_read,
            skipped=self.skipped,
            bad_row=self.bad_row,
            seconds=self.seconds,
        )

    def add_date(self, date: int) -> None:
        self.date_first = date if self.date_first is None else min(self.date_first, date)
        self.date_last = date if self.date_last is None else max(self.date_last, date)
