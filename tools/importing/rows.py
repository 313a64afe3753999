"""Turns the cells of a row into a posting: who, whom, how much, when, under which id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import attrs

from nostro.tools.amounts import AmountError, parse_amount
from nostro.tools.importing.dates import DateReader
from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.ids import derived_id
from nostro.tools.importing.mapping import AccountRule, Mapping, NumberRule
from nostro.tools.importing.parties import ColumnParties, Party, RuledParties
from nostro.tools.importing.source import RawRow
from nostro.tools.importing.user_data import user_data_reader


class Posting(NamedTuple):
    """One good row. ``date`` is nanoseconds since the epoch, 0 when rows carry no date."""

    row: RawRow
    date: int
    id: int
    debit: Party
    credit: Party
    amount: int
    ledger: int
    code: int
    user_data_128: int
    user_data_64: int
    user_data_32: int


@attrs.frozen
class BadRow:
    """One row that cannot be used. ``reason`` is the kind of fault; ``detail`` what was found."""

    line: int
    reason: str
    detail: str
    cells: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"{self.reason}: {self.detail}" if self.detail else self.reason
        return f"line {self.line}: {told}"


class RowReader:
    """A mapping made ready for a file whose cells are named ``columns``."""

    def __init__(self, mapping: Mapping, columns: tuple[str, ...]) -> None:
        self._mapping = mapping
        self._at = {column: index for index, column in enumerate(columns)}
        self._key = [self._at[column] for column in mapping.transfer.key]
        self._dates = DateReader(mapping.date) if mapping.date is not None else None
        self._date = self._at[mapping.date.column] if mapping.date is not None else -1
        self._amount = self._at[mapping.amount.column]
        self._grouped = _grouped_pattern(mapping.amount.decimal_mark, mapping.amount.group_mark)
        self._customer = ColumnParties(mapping, mapping.customer, self._at, "customer")
        self._counter: ColumnParties | RuledParties = (
            ColumnParties(mapping, mapping.counter, self._at, "customer")
            if isinstance(mapping.counter, AccountRule)
            else RuledParties(mapping, mapping.counter, self._at)
        )
        self._reserved = frozenset(mapping.given_counter_ids.values())
        transfer = mapping.transfer
        self._data = [
            user_data_reader(mapping.namespace, rule, bits, self._at)
            for rule, bits in (
                (transfer.user_data_128, 128),
                (transfer.user_data_64, 64),
                (transfer.user_data_32, 32),
            )
        ]

    def read(self, row: RawRow) -> Posting | BadRow:
        """Return the posting of ``row``, or why there is none."""
        if row.fault:
            return BadRow(row.line, row.fault, row.detail, tuple(row.cells))
        try:
            return self._posting(row)
        except RowRefused as refused:
            return BadRow(row.line, refused.reason, refused.detail, tuple(row.cells))

    def _posting(self, row: RawRow) -> Posting:
        cells = row.cells
        transfer = self._mapping.transfer
        ledger = self._number(transfer.ledger, cells, "ledger")
        amount = self._units(cells[self._amount])
        credits_customer = self._credits_customer(cells, amount)
        customer = self._customer.read(cells, ledger)
        counter = self._counter.read(cells, ledger)
        if customer.id in self._reserved:
            raise RowRefused("account id is that of a counter-account", str(customer.id))
        if customer.id == counter.id:
            raise RowRefused("both accounts are the same", str(customer.id))
        debit, credit = (counter, customer) if credits_customer else (customer, counter)
        return Posting(
            row,
            0 if self._dates is None else self._dates.read(cells[self._date]),
            self._id(cells),
            debit,
            credit,
            abs(amount),
            ledger,
            self._number(transfer.code, cells, "code"),
            *(read(cells) for read in self._data),
        )

    def _id(self, cells: list[str]) -> int:
        parts = [cells[index] for index in self._key]
        if not any(parts):
            raise RowRefused("key is empty")
        return derived_id(self._mapping.namespace, "transfer", *parts)

    def _units(self, text: str) -> int:
        if self._grouped is not None:
            text = self._ungrouped(text)
        try:
            units = parse_amount(text, self._mapping.amount.scale)
        except AmountError as error:
            raise RowRefused(error.reason, repr(error.text) if error.text else "") from None
        if units < 0 and self._mapping.direction.column is not None:
            raise RowRefused("amount is negative", repr(text))
        return units

    def _ungrouped(self, text: str) -> str:
        if self._grouped is not None and text and self._grouped.fullmatch(text) is None:
            raise RowRefused("amount is not a number", repr(text))
        rule = self._mapping.amount
        plain = text.replace(rule.group_mark, "") if rule.group_mark else text
        return plain.replace(rule.decimal_mark, ".")

    def _credits_customer(self, cells: list[str], amount: int) -> bool:
        rule = self._mapping.direction
        if rule.column is None:
            return amount >= 0
        value = cells[self._at[rule.column]]
        if value in rule.credit:
            return True
        if value in rule.debit:
            return False
        raise RowRefused("direction is neither credit nor debit", f"{rule.column}={value!r}")

    def _number(self, rule: int | NumberRule[Any], cells: list[str], name: str) -> int:
        if isinstance(rule, int):
            return rule
        value = cells[self._at[rule.column]]
        number: int | None = rule.values.get(value, rule.default)
        if number is None:
            raise RowRefused(f"no {name} for this value", f"{rule.column}={value!r}")
        return number


def postings(
    rows: Iterable[RawRow], reader: RowReader, *, sort: bool
) -> Iterator[Posting | BadRow]:
    """Yield what each row means, in the order of the file or, with ``sort``, of the dates.

    Sorting is stable, reads the whole file first, and tells bad rows before any good one.
    """
    read = map(reader.read, rows)
    if not sort:
        yield from read
        return
    good: list[Posting] = []
    for item in read:
        if isinstance(item, BadRow):
            yield item
        else:
            good.append(item)
    yield from sorted(good, key=lambda posting: posting.date)


def _grouped_pattern(decimal_mark: str, group_mark: str) -> re.Pattern[str] | None:
    if decimal_mark == "." and not group_mark:
        return None
    mark = re.escape(decimal_mark)
    whole = rf"(?:\d{{1,3}}(?:{re.escape(group_mark)}\d{{3}})+|\d+)" if group_mark else r"\d+"
    return re.compile(rf"\s*[+-]?{whole}(?:{mark}\d*)?\s*", re.ASCII)
