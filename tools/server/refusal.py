"""What a request is answered with that cannot be carried out: which status, and what it says.

A refusal by the rules of accounting is no error: it is a status in the answer. Messages for what
has failed here name no path: whoever asks does not see this machine's disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from nostro.journal import (
    BatchTooLarge,
    InvalidField,
    JournalFull,
    LedgerClosed,
    OutOfRange,
    ReadOnly,
    WriterPoisoned,
)
from nostro.tools.server.wire import InvalidJson

NOTHING_WRITTEN: Final = "nothing_written"
UNKNOWN: Final = "unknown"
OUTCOMES: Final = (NOTHING_WRITTEN, UNKNOWN)
_SAME_IDS: Final = "send the same ids again: what was created is then answered with EXISTS"


@attrs.define(eq=False)
class Refusal(Exception):
    """An answer that is an error."""

    status: int
    type: str
    message: str
    field: str | None = None
    row: int | None = None
    outcome: str = NOTHING_WRITTEN
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def as_json(self, *, writing: bool) -> dict[str, Any]:
        """The body; ``outcome`` is in it where something could have been written."""
        said = {"type": self.type, "message": self.message, "field": self.field, "row": self.row}
        if writing:
            said["outcome"] = self.outcome
        return {"error": {name: value for name, value in said.items() if value is not None}}


def not_found(what: str) -> Refusal:
    return Refusal(404, "not_found", f"there is no such {what}")


def refusal_of(error: Exception) -> Refusal:
    """What an exception is answered with."""
    match error:
        case Refusal():
            return error
        case InvalidJson():
            return Refusal(400, "invalid_json", f"the body is no JSON that is read here: {error}")
        case InvalidField(field=field, reason=reason, row=row):
            where = "" if row is None else f"row {row}: "
            message = f"{where}{_short(field)} {reason}"
            return Refusal(400, "invalid_field", message, field=_short(field), row=row)
        case OutOfRange(what=what):
            return Refusal(400, "out_of_range", str(error), field=what)
        case BatchTooLarge():
            return Refusal(413, "batch_too_large", str(error))
        case JournalFull():
            message = "there is no room on the disk; ask again later"
            return Refusal(507, "journal_full", message)
        case WriterPoisoned(operation=operation, reason=reason):
            message = (
                f"the disk failed ({operation}: {reason}), and nothing is written until the server"
                f" is started again; what became of this request is unknown: then {_SAME_IDS}"
            )
            return Refusal(503, "writer_poisoned", message, outcome=UNKNOWN)
        case LedgerClosed() | ReadOnly():
            return Refusal(503, "ledger_closed", "the server is stopping; ask again later")
        case _:
            message = f"a bug or the disk, as the server's log says; of a write, {_SAME_IDS}"
            return Refusal(500, "internal", message, outcome=UNKNOWN)


def _short(name: str) -> str:
    """A field's name, which may be anything that somebody has sent."""
    return name if len(name) <= 40 else f"{name[:40]}…"
