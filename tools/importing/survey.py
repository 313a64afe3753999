"""All rows of a file, read and checked against each other before the first is posted.

What no single row shows is found here: a key that two rows share, rows that run from the newest to
the oldest, a running balance that does not add up. Rows wait in memory, or in a temporary file when
there are many; sorting keeps them all in memory.
"""

from __future__ import annotations

import itertools
import marshal
import operator
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final, Self

import attrs
import numpy as np

from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.mapping import DateRule, Mapping
from nostro.tools.importing.parties import Party
from nostro.tools.importing.rows import BadRow, Posting, RowReader
from nostro.tools.importing.source import RawRow

IN_MEMORY_ROWS: Final = 100_000
CHUNK_ROWS: Final = 4_096
_WORD: Final = (1 << 64) - 1

_COMPARED: Final = ("amount", "ledger", "code", "user_data_128", "user_data_64", "user_data_32")


class Survey:
    """The rows of a file in the order of posting. A context manager.

    Attributes:
        disorder: why the whole file cannot be posted in this order; None if it can.
        ignored: how many rows the mapping leaves out.
    """

    def __init__(self, rows: Iterable[RawRow], reader: RowReader, mapping: Mapping) -> None:
        """Read all ``rows``.

        Raises:
            SourceError: the file cannot be read to its end.
        """
        self.ignored = 0
        self._rows = 0
        self._reader = reader
        self._balance = mapping.balance
        rule = mapping.date
        self._reversed = rule is not None and rule.order == "newest_first"
        self._sorted = rule is not None and rule.sort
        self._kept = _Kept(None if self._reversed or self._sorted else IN_MEMORY_ROWS)
        self._dates = array("q")
        self._words = array("Q")  # of the ids: two rows with one word are looked at again
        try:
            self._read(rows)
        except BaseException:
            self._kept.close()
            raise
        self._repeated = _repeated(self._words)
        self.disorder = None if rule is None else self._find_disorder(rule)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def _read(self, rows: Iterable[RawRow]) -> None:
        for item in map(self._reader.read, rows):
            if item is None:
                self.ignored += 1
                continue
            self._rows += 1
            self._kept.add(item)
            if isinstance(item, Posting):
                self._dates.append(item.date)
                self._words.append(item.id & _WORD)

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Posting | BadRow]:
        """Yield the rows, as often as asked; after sorting, the bad ones first."""
        items = self._unique(iter(self._kept)) if self._repeated else iter(self._kept)
        if self._reversed or self._sorted:
            found = list(items)
            yield from (item for item in found if isinstance(item, BadRow))
            good = [item for item in found if isinstance(item, Posting)]
            if self._reversed:
                good.reverse()
            if self._sorted:
                good.sort(key=lambda posting: posting.date)
            items = iter(good)
        yield from items if self._balance is None else self._balanced(items)

    def _unique(self, items: Iterator[Posting | BadRow]) -> Iterator[Posting | BadRow]:
        """Refuse each row whose key an earlier line has."""
        first: dict[int, Posting] = {}
        for item in items:
            if isinstance(item, Posting) and item.id & _WORD in self._repeated:
                earlier = first.setdefault(item.id, item)
                if earlier is not item:
                    yield item.bad("key is that of an earlier row", _difference(item, earlier))
                    continue
            yield item

    def _balanced(self, items: Iterator[Posting | BadRow]) -> Iterator[Posting | BadRow]:
        """Refuse each row that does not lead from the balance before it to its own."""
        before: dict[int, int] = {}
        for item in items:
            if isinstance(item, BadRow):
                before.clear()  # what it would have moved is not known
                yield item
                continue
            customer = item.customer.id
            moved = item.amount if item.credits_customer else -item.amount
            expected = before[customer] + moved if customer in before else None
            try:
                stated = self._reader.balance(item)
            except RowRefused as refused:
                yield item.bad(f"balance: {refused.reason}", refused.detail)
                continue
            after = expected if stated is None else stated
            if after is not None:
                before[customer] = after
            if stated is not None and expected is not None and stated != expected:
                texts = [self._reader.balance_text(units) for units in (stated, expected)]
                reason = "balance does not follow from the row before"
                yield item.bad(reason, f"{texts[0]} and not {texts[1]}")
                continue
            yield item

    def _find_disorder(self, rule: DateRule) -> BadRow | None:
        steps = np.diff(np.frombuffer(self._dates, np.int64)) if self._dates else np.empty(0)
        rises, falls = bool((steps > 0).any()), bool((steps < 0).any())
        if rule.order == "newest_first":
            wrong, change = rises and not falls, "oldest to the newest: remove date.order"
            turn = int((steps > 0).argmax()) if wrong else 0
        else:
            sortable = rule.sort and (rule.order is not None or bool((steps < 0).all()))
            wrong = falls and not rises and not sortable
            change = 'newest to the oldest: set date.order = "newest_first"'
            turn = int((steps < 0).argmax()) if wrong else 0
        if not wrong:
            return None
        good = (item for item in self._kept if isinstance(item, Posting))
        return next(itertools.islice(good, turn + 1, None)).bad(f"rows run from the {change}")


class _Kept:
    """Rows that can be read again: the first in memory, the others in a temporary file.

    A row is written as a plain tuple, its accounts as numbers: several times faster than as
    objects.
    """

    def __init__(self, rows_max: int | None) -> None:
        self._rows_max = rows_max
        self._memory: list[Posting | BadRow] = []
        self._file: IO[bytes] | None = None
        self._lengths: list[int] = []
        self._chunk: list[tuple[Any, ...]] = []
        self._parties: list[Party] = []
        self._numbers: dict[Party, int] = {}

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, item: Posting | BadRow) -> None:
        if self._rows_max is None or len(self._memory) < self._rows_max:
            self._memory.append(item)
            return
        if isinstance(item, BadRow):
            self._chunk.append((item.line, item.reason, item.detail, item.cells))
        else:
            row, date, debit, credit, *numbers = item
            sides = (self._number(debit), self._number(credit))
            self._chunk.append((row.line, row.cells, date, *sides, *numbers))
        if len(self._chunk) == CHUNK_ROWS:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
            data = marshal.dumps(self._chunk)  # marshal.load would read it in tiny pieces
            self._lengths.append(self._file.write(data))
            self._chunk = []

    def __iter__(self) -> Iterator[Posting | BadRow]:
        yield from self._memory
        if self._file is not None:
            place = 0
            for length in self._lengths:
                self._file.seek(place)
                chunk = marshal.loads(self._file.read(length))  # noqa: S302 - our own file
                place += length
                yield from map(self._item, chunk)
        yield from map(self._item, self._chunk)

    def _number(self, party: Party) -> int:
        number = self._numbers.setdefault(party, len(self._parties))
        if number == len(self._parties):
            self._parties.append(party)
        return number

    def _item(self, kept: tuple[Any, ...]) -> Posting | BadRow:
        if len(kept) == len(attrs.fields(BadRow)):
            return BadRow(*kept)
        line, cells, date, debit, credit, *numbers = kept
        parties = self._parties
        return Posting(RawRow(line, cells), date, parties[debit], parties[credit], *numbers)


def _repeated(words: array[int]) -> frozenset[int]:
    if not words:
        return frozenset()
    found = np.sort(np.frombuffer(words, np.uint64))
    return frozenset(found[1:][found[1:] == found[:-1]].tolist())


def _difference(item: Posting, earlier: Posting) -> str:
    line = f"line {earlier.row.line}"
    if item.date != earlier.date:
        return f"{line}, on another date"
    for name, read in (
        ("debit_account_id", operator.attrgetter("debit.id")),
        ("credit_account_id", operator.attrgetter("credit.id")),
        *((name, operator.attrgetter(name)) for name in _COMPARED),
    ):
        if read(item) != read(earlier):
            return f"{line}: EXISTS_WITH_DIFFERENT_{name.upper()}"
    return f"{line}, with equal values in every column of the mapping"
