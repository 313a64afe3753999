"""Errors of the server: which HTTP status each exception becomes, and the message in its body.

An event that a rule of accounting refuses is not an error here: the answer holds its status. The
messages name no path, because the client must not learn how this machine's disk is laid out.
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
    LedgerReplaced,
    OutOfRange,
    ReadOnly,
    WriterPoisoned,
    WrongClock,
)
from nostro.tools.server.strict_json import InvalidJson

NOTHING_WRITTEN: Final = "nothing_written"
UNKNOWN: Final = "unknown"
OUTCOMES: Final = (NOTHING_WRITTEN, UNKNOWN)
_RETRY: Final = "send the same ids again: events that were created are answered with EXISTS"


@attrs.define(eq=False)
class ApiError(Exception):
    """An error answer: an HTTP status and the members of its body."""

    status: int
    type: str
    message: str
    field: str | None = None
    row: int | None = None
    outcome: str = NOTHING_WRITTEN
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def as_json(self, *, writing: bool) -> dict[str, Any]:
        """The body; it has an ``outcome`` if the request was one that writes."""
        body = {"type": self.type, "message": self.message, "field": self.field, "row": self.row}
        if writing:
            body["outcome"] = self.outcome
        return {"error": {name: value for name, value in body.items() if value is not None}}


def api_error(error: Exception) -> ApiError:
    """The answer to a request that raised ``error``."""
    match error:
        case ApiError():
            return error
        case InvalidJson():
            return ApiError(400, "invalid_json", f"the request body is not valid JSON: {error}")
        case InvalidField(field=field, reason=reason, row=row):
            where = "" if row is None else f"row {row}: "
            message = f"{where}{shortened(field)} {reason}"
            return ApiError(400, "invalid_field", message, field=shortened(field), row=row)
        case OutOfRange(what=what):
            return ApiError(400, "out_of_range", str(error), field=what)
        case BatchTooLarge(count_max=most):
            return ApiError(413, "batch_too_large", f"a list holds at most {most:,} items")
        case JournalFull():
            message = "the disk is full; nothing was written; try again once there is room"
            return ApiError(507, "journal_full", message)
        case WrongClock():
            message = "the server's clock contradicts the ledger; nothing was written; try again"
            return ApiError(503, "wrong_clock", f"{message} later")
        case LedgerReplaced(reason=reason):
            message = (
                f"the ledger's files are not its own any more ({reason}); the server writes nothing"
                " until they are put back and it is restarted; the outcome of this request is"
                f" unknown: after the restart, {_RETRY}"
            )
            return ApiError(503, "ledger_replaced", message, outcome=UNKNOWN)
        case WriterPoisoned(operation=operation, reason=reason):
            message = (
                f"the disk failed ({operation}: {reason}); the server writes nothing until it is"
                f" restarted; the outcome of this request is unknown: after the restart, {_RETRY}"
            )
            return ApiError(503, "writer_poisoned", message, outcome=UNKNOWN)
        case LedgerClosed() | ReadOnly():
            return ApiError(503, "ledger_closed", "the server is stopping; try again later")
        case _:
            message = f"internal error; the server's log has the details; after a write, {_RETRY}"
            return ApiError(500, "internal", message, outcome=UNKNOWN)


def shortened(text: str) -> str:
    """At most 40 characters of what a client sent, for a message."""
    return text if len(text) <= 40 else f"{text[:40]}…"
