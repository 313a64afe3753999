"""Requests to create, and how several become one: one record, one sync, the same answers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import MESSAGE_EVENTS_MAX, AccountFlags, Rows, TransferFlags
from nostro.projections.pipeline.answers import RESULTS, event_rows, with_balances
from nostro.projections.rules.posting import AppliedTransfer

JOINED_ROWS_MAX: Final = MESSAGE_EVENTS_MAX
"""So many rows are joined at most."""

_LINKED: Final = int(AccountFlags.LINKED)
_IMPORTED: Final = {
    RecordKind.ACCOUNTS: int(AccountFlags.IMPORTED),
    RecordKind.TRANSFERS: int(TransferFlags.IMPORTED),
}


@attrs.define(eq=False)
class CreateRequest:
    """Rows to create and, once it was carried out, what became of them."""

    kind: RecordKind
    rows: Rows
    in_objects: Callable[[npt.NDArray[np.void]], list[Any]] | None = None
    """Makes the answer of ``CREATE_RESULT[n]``; None: that is the answer."""
    applied: list[AppliedTransfer] | None = None
    """Takes the transfers that took effect and their accounts after each."""
    results: npt.NDArray[np.void] | None = None
    error: BaseException | None = None
    wake: threading.Lock | None = None
    """Held while its caller sleeps."""
    is_elected: bool = False
    """Whether its caller was woken to lead."""
    parts: Sequence[CreateRequest] = ()
    """Those that it was joined of."""
    _answer: Any = None

    def deliver(self, results: npt.NDArray[np.void]) -> None:
        """Take the results, and give each part its own."""
        self.results, self.error, self._answer = results, None, None
        start = 0
        for part in self.parts:
            end = start + len(part.rows)
            part.deliver(results[start:end])
            start = end

    def fail(self, cause: BaseException) -> None:
        """It was not carried out, nor was any part, unless it is delivered to later."""
        self.error = cause
        for part in self.parts:
            part.fail(cause)

    def singles(self) -> Iterator[CreateRequest]:
        """What callers have sent, in order."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.singles()

    def prepare(self) -> None:
        """Make the answer of the results now rather than later."""
        if self.in_objects is not None and self.results is not None and self._answer is None:
            self._answer = self.in_objects(self.results)

    def answer(self) -> Any:
        """The results as the caller gets them.

        Raises:
            JournalError: whatever kept it from being carried out.
        """
        if self.error is not None:
            raise self.error
        if self.results is None:
            raise AssertionError("the request was not carried out")
        if self.in_objects is None:
            return self.results
        return self.in_objects(self.results) if self._answer is None else self._answer


def create_request(kind: RecordKind, events: Any, *, balances: bool) -> CreateRequest:
    """The request to create ``events``: objects, or rows that are answered with rows.

    Raises:
        InvalidField, BatchTooLarge: see :func:`event_rows`.
    """
    rows = event_rows(kind, events, balances=balances)
    if not balances:
        return CreateRequest(kind, rows, None if isinstance(events, np.ndarray) else RESULTS[kind])
    applied: list[AppliedTransfer] = []
    return CreateRequest(
        kind, rows,
        lambda results: with_balances(
            results, ((one.debit.balances(), one.credit.balances()) for one in applied)
        ),
        applied,
    )  # fmt: skip


def take_joined(line: deque[CreateRequest]) -> CreateRequest:
    """Take the first request out of line, joined with those behind it that may be."""
    group = [line.popleft()]
    rows = len(group[0].rows)
    while line and rows + len(line[0].rows) <= JOINED_ROWS_MAX and goes_with(group[-1], line[0]):
        rows += len(line[0].rows)
        group.append(line.popleft())
    return join(group)


def join(group: Sequence[CreateRequest]) -> CreateRequest:
    """One request of several, each of which goes with the one before it."""
    first = group[0]
    if len(group) == 1:
        return first
    # As bytes: numpy would copy rows of fields field by field.
    joined = b"".join([request.rows.tobytes() for request in group])
    return CreateRequest(first.kind, np.frombuffer(joined, first.rows.dtype), parts=group)


def goes_with(before: CreateRequest, after: CreateRequest) -> bool:
    """Whether ``after``, right behind ``before``, is answered the same when joined to it.

    Not where a chain is left open at the end, and imported events only go with their like.
    """
    if before.kind is not after.kind or not len(before.rows) or not len(after.rows):
        return False
    if before.applied is not None or after.applied is not None:
        return False
    ends, begins = int(before.rows["flags"][-1]), int(after.rows["flags"][0])
    first = int(before.rows["flags"][0])
    return not ends & _LINKED and not (first ^ begins) & _IMPORTED[before.kind]
