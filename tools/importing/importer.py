"""The import itself: rows into batches, batches into the ledger, and every outcome counted.

An import may end anywhere, between two batches or in the middle of one. Ids, accounts and
timestamps depend on nothing but the file and the mapping, so running it again finds what is there
(``EXISTS``) and goes on with what is not. The ledger does not compare the times of a transfer that
exists with those of the row, so that is done here.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import attrs

from nostro.journal import Account, CreateAccountStatus, CreateTransferStatus, Rows
from nostro.journal.rows import account_rows
from nostro.tools.importing.batch import BATCH_ROWS_MAX, Batch
from nostro.tools.importing.dates import Timeline, resolution_ns
from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.mapping import DateRule
from nostro.tools.importing.report import Outcome, Report
from nostro.tools.importing.rows import BadRow, Posting
from nostro.tools.times import format_rfc3339

REFUSED: Final = "refused by the ledger: "
ANOTHER_DATE: Final = "date differs from that of the ledger's transfer"

_CREATED: Final = int(CreateTransferStatus.CREATED)
_EXISTS: Final = int(CreateTransferStatus.EXISTS)
_ACCOUNT_THERE: Final = {int(CreateAccountStatus.CREATED), int(CreateAccountStatus.EXISTS)}


class Target(Protocol):
    """Where rows go: a ledger, or for a dry run a preview of one."""

    def lookup_accounts(self, ids: Sequence[int], /) -> list[Account]:
        """Return those of the accounts that exist."""
        ...

    def create_accounts(self, rows: Rows, /) -> Rows:
        """Create ``ACCOUNT[n]``; return ``CREATE_RESULT[n]``."""
        ...

    def create_transfers(self, rows: Rows, /) -> Rows:
        """Create ``TRANSFER[n]``; return ``CREATE_RESULT[n]``."""
        ...


class _Stop(Exception):
    """A bad row was met and the import is to stop at the first."""


@attrs.frozen
class Options:
    """How to run.

    Attributes:
        skip_bad_rows: go on after a bad row instead of stopping at it.
        batches_kept: how many batches to keep in ``Importer.batches``, for another run.
        batch_rows: rows per request, 1 to BATCH_ROWS_MAX.
        dates: how rows get their timestamps; None leaves that to the ledger's clock.
        now: the time in ns; later dates are refused.
        rejected: called with every bad row.
        posted: called after each batch, with the counts so far.
        shield: entered around each request, so that an interruption waits for its answer.
    """

    skip_bad_rows: bool = False
    batches_kept: int = 0
    batch_rows: int = BATCH_ROWS_MAX
    dates: DateRule | None = None
    now: int = attrs.field(factory=time.time_ns)
    rejected: Callable[[BadRow], None] = lambda _: None
    posted: Callable[[Report], None] = lambda _: None
    shield: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


class Importer:
    """One run. ``report`` holds the counts at any moment, also after an exception.

    ``batches`` holds everything that was posted, or is None if that is too much to keep.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self.report = Report()
        self.batches: list[Batch] | None = []
        self._target = target
        self._options = options
        dates = options.dates
        self._timeline = None if dates is None else Timeline(dates, now=options.now)
        self._resolution = 0 if dates is None else resolution_ns(dates.format)
        self._batch = Batch()
        self._known: set[int] = set()

    def run(
        self, items: Iterable[Posting | BadRow | Batch], *, disorder: BadRow | None = None
    ) -> Report:
        """Post every item, in order, and return what became of them; nothing after ``disorder``.

        A batch comes from another run with the same options.

        A KeyboardInterrupt outside a request ends the run with a report. What the target raises
        passes through; ``report`` then counts what was posted.
        """
        started = time.monotonic()
        if disorder is not None:
            self._count_rejected(disorder)
        self.report.outcome = Outcome.STOPPED if disorder is not None else self._run(items)
        self.report.skipped = Counter(dict(self.report.skipped.most_common()))
        self.report.seconds = time.monotonic() - started
        return self.report

    def _run(self, items: Iterable[Posting | BadRow | Batch]) -> Outcome:
        try:
            for item in items:
                self._take(item)
            self._flush()
        except _Stop:
            return Outcome.STOPPED
        except KeyboardInterrupt:
            return Outcome.INTERRUPTED
        return Outcome.COMPLETE

    def _take(self, item: Posting | BadRow | Batch) -> None:
        if isinstance(item, Batch):
            self.report.rows_read += len(item)
            self._batch = item
            self._flush()
            return
        self.report.rows_read += 1
        if isinstance(item, BadRow):
            self._reject(item)
            return
        timestamp = 0
        if self._timeline is not None:
            try:
                timestamp = self._timeline.stamp(item.date)
            except RowRefused as refused:
                self._reject(item.bad(refused.reason, refused.detail))
                return
        self._batch.add(item, timestamp)
        if len(self._batch) >= self._options.batch_rows:
            self._flush()

    def _reject(self, bad: BadRow) -> None:
        if not self._options.skip_bad_rows:
            self._flush()  # what stands before the bad row goes in
        self._count_rejected(bad)
        if not self._options.skip_bad_rows:
            raise _Stop

    def _count_rejected(self, bad: BadRow) -> None:
        self.report.skipped[bad.reason] += 1
        self.report.bad_row = self.report.bad_row or bad
        self._options.rejected(bad)

    def _flush(self) -> None:
        batch, self._batch = self._batch, Batch()
        if not len(batch):
            return
        with self._options.shield():
            refused = self._create_accounts(batch)
            rejected = _leave_out(batch, refused) if refused else []
            rejected += self._create_transfers(batch) if len(batch) else []
        self._keep(batch)
        for bad in sorted(rejected, key=lambda bad: bad.line):
            self._count_rejected(bad)
        self._options.posted(self.report)
        if rejected and not self._options.skip_bad_rows:
            raise _Stop

    def _keep(self, batch: Batch) -> None:
        if self.batches is not None:
            self.batches.append(batch)
            if len(self.batches) > self._options.batches_kept:
                self.batches = None

    def _create_accounts(self, batch: Batch) -> dict[int, str]:
        """Create what the batch names and the ledger lacks; return why, for each refused id."""
        new = batch.new_accounts(self._known)
        if not new:
            return {}
        there = self._target.lookup_accounts([account.id for account in new])
        self._known.update(account.id for account in there)
        accounts = [account for account in new if account.id not in self._known]
        refused: dict[int, str] = {}
        # One row may name two accounts, and a request holds no more than a batch.
        for start in range(0, len(accounts), self._options.batch_rows):
            refused |= self._create(accounts[start : start + self._options.batch_rows])
        return refused

    def _create(self, accounts: list[Account]) -> dict[int, str]:
        results = self._target.create_accounts(account_rows(accounts))
        refused: dict[int, str] = {}
        for account, status in zip(accounts, results["status"].tolist(), strict=True):
            if status in _ACCOUNT_THERE:
                self._known.add(account.id)
                self.report.accounts_created += status != int(CreateAccountStatus.EXISTS)
            else:
                refused[account.id] = CreateAccountStatus(status).name
        return refused

    def _create_transfers(self, batch: Batch) -> list[BadRow]:
        results = self._target.create_transfers(batch.rows())
        rejected: list[BadRow] = []
        for posting, status, timestamp in zip(
            batch.postings, results["status"].tolist(), results["timestamp"].tolist(), strict=True
        ):
            if status == _EXISTS and self._is_of_another_date(posting, timestamp):
                stored = f"the transfer of this key has the date {format_rfc3339(timestamp)}"
                rejected.append(posting.bad(ANOTHER_DATE, stored))
                continue
            if status == _CREATED:
                self.report.created += 1
            elif status == _EXISTS:
                self.report.already_there += 1
            else:
                name = CreateTransferStatus(status).name
                rejected.append(posting.bad(f"{REFUSED}{name}"))
                continue
            self.report.line_last = max(self.report.line_last, posting.row.line)
            if self._timeline is not None:
                self.report.add_date(posting.date)
        return rejected

    def _is_of_another_date(self, posting: Posting, timestamp: int) -> bool:
        if self._timeline is None:
            return False
        return not posting.date <= timestamp < posting.date + self._resolution


def _leave_out(batch: Batch, refused: dict[int, str]) -> list[BadRow]:
    """Remove the rows whose account the ledger refused; return them with its reason."""
    kept = Batch()
    rejected = []
    for posting, timestamp in zip(batch.postings, batch.timestamps, strict=True):
        ids = [side.id for side in (posting.debit, posting.credit) if side.id in refused]
        if ids:
            reason = f"account refused by the ledger: {refused[ids[0]]}"
            rejected.append(posting.bad(reason, f"account {ids[0]}"))
        else:
            kept.add(posting, timestamp)
    batch.postings, batch.timestamps = kept.postings, kept.timestamps
    return rejected
