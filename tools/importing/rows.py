"""Turns the cells of a row into a posting: who, whom, how much, when, under which id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs

from nostro.tools.amounts import AmountError, WrittenAmounts
from nostro.tools.importing.dates import DateReader
from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.ids import derived_id
from nostro.tools.importing.mapping import AccountRule, Mapping, NumberRule
from nostro.tools.importing.parties import ColumnParties, Party, RuledParties
from nostro.tools.importing.source import BELOW, RawRow
from nostro.tools.importing.user_data import user_data_reader


class Posting(NamedTuple):
    """One good row. ``date`` is nanoseconds since the epoch, 0 when rows carry no date."""

    row: RawRow
    date: int
    debit: Party
    credit: Party
    amount: int
    ledger: int
    code: int
    user_data_128: int
    user_data_64: int
    user_data_32: int
    credits_customer: bool
    id: int

    @property
    def customer(self) -> Party:
        return self.credit if self.credits_customer else self.debit

    def bad(self, reason: str, detail: str = "") -> BadRow:
        """Return the row as one that cannot be used after all."""
        return BadRow(self.row.line, reason, detail, tuple(self.row.cells))


@attrs.frozen
class BadRow:
    """One row that cannot be used. ``reason`` is the kind of fault; ``detail`` what was found."""

    line: int
    reason: str
    detail: str
    cells: tuple[str, ...] = ()

    def __str__(self) -> str:
        cause = f"{self.reason}: {self.detail}" if self.detail else self.reason
        return f"line {self.line}: {cause}"


class RowReader:
    """A mapping made ready for a file whose cells are named ``columns``."""

    def __init__(self, mapping: Mapping, columns: tuple[str, ...]) -> None:
        self._mapping = mapping
        self._columns = columns
        self._at = {column: index for index, column in enumerate(columns)}
        self._dates = DateReader(mapping.date) if mapping.date is not None else None
        self._date = [self._at[name] for name in mapping.date.column] if mapping.date else []
        rule = mapping.amount
        self._amounts = WrittenAmounts(
            rule.scale,
            decimal_mark=rule.decimal_mark,
            group_mark=rule.group_mark,
            currency=rule.currency,
            positive=rule.positive,
            negative=rule.negative,
        )
        self._key = [(self._at[name], self._key_writer(name)) for name in mapping.transfer.key]
        self._occurrences: Counter[int] = Counter()
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
        self._ignored = [
            [(self._at[column], values) for column, values in rule.when.items()]
            for rule in mapping.file.ignore
        ]

    def read(self, row: RawRow) -> Posting | BadRow | None:
        """Return the posting of ``row``, or why there is none; None if the mapping ignores it."""
        if row.fault == BELOW:
            return self._below(row)
        if row.fault:
            return BadRow(row.line, row.fault, row.detail, tuple(row.cells))
        cells = row.cells
        for conditions in self._ignored:
            if all(cells[index] in values for index, values in conditions):
                return None
        try:
            return self._posting(row)
        except RowRefused as refused:
            return BadRow(row.line, refused.reason, refused.detail, tuple(cells))

    def _below(self, row: RawRow) -> BadRow | None:
        """Return None for a line below the rows, unless it is a row itself."""
        if len(row.cells) != len(self._columns):
            return None
        try:
            return self._posting(row).bad("a row that file.skip_last_lines would leave out")
        except RowRefused:
            return None

    def balance(self, posting: Posting) -> int | None:
        """Return the customer's balance that the file gives after the row; None for an empty cell.

        Raises:
            RowRefused: it is not an amount.
        """
        assert self._mapping.balance is not None
        text = posting.row.cells[self._at[self._mapping.balance.column]]
        return self._units(text) if text else None

    def balance_text(self, units: int) -> str:
        """Return a balance as the file writes amounts."""
        return self._amounts.write(units)

    def _posting(self, row: RawRow) -> Posting:
        cells = row.cells
        transfer = self._mapping.transfer
        ledger = self._number(transfer.ledger, cells, "ledger")
        amount, credits_customer = self._money(cells)
        customer = self._customer.read(cells, ledger)
        counter = self._counter.read(cells, ledger)
        if customer.id in self._reserved:
            raise RowRefused("account id is that of a counter-account", str(customer.id))
        if customer.id == counter.id:
            raise RowRefused("both accounts are the same", str(customer.id))
        debit, credit = (counter, customer) if credits_customer else (customer, counter)
        return Posting(
            row,
            0 if self._dates is None else self._dates.read(self._date_text(cells)),
            debit,
            credit,
            amount,
            ledger,
            self._number(transfer.code, cells, "code"),
            self._data[0](cells),
            self._data[1](cells),
            self._data[2](cells),
            credits_customer,
            self._id(cells),  # last, because a refused row does not count as an occurrence
        )

    def _date_text(self, cells: list[str]) -> str:
        return " ".join([cells[index] for index in self._date])

    def _key_writer(self, name: str) -> Callable[[str], str] | None:
        """Return what writes a key's cell in one way, so that 12.50 and 12.5 are one key."""
        date, amount = self._mapping.date, self._mapping.amount
        if date is not None and self._dates is not None and date.column == (name,):
            return self._dates.written
        if name in (amount.column, amount.debit_column, amount.credit_column):
            return lambda text: (
                "" if text in amount.empty else text and self._amounts.write(self._units(text))
            )
        return None

    def _id(self, cells: list[str]) -> int:
        parts = [write(cells[index]) if write else cells[index] for index, write in self._key]
        if not any(parts):
            raise RowRefused("key is empty")
        namespace = self._mapping.namespace
        found = derived_id(namespace, "transfer", *parts)
        if not self._mapping.transfer.key_occurrence:
            return found
        self._occurrences[found] += 1
        nth = self._occurrences[found]
        return found if nth == 1 else derived_id(namespace, "transfer", *parts, str(nth))

    def _units(self, text: str) -> int:
        try:
            return self._amounts.read(text)
        except AmountError as error:
            raise RowRefused(error.reason, repr(error.text) if error.text else "") from None

    def _money(self, cells: list[str]) -> tuple[int, bool]:
        """Return the amount, and whether it credits the customer."""
        rule = self._mapping.amount
        if rule.has_two_columns:
            return self._one_of_two(cells)
        units = self._units(cells[self._at[rule.column or ""]])
        direction = self._mapping.direction
        if direction is None or direction.column is None:
            return abs(units), units >= 0
        if units < 0:
            raise RowRefused("amount is negative", repr(cells[self._at[rule.column or ""]]))
        value = cells[self._at[direction.column]]
        if value in direction.credit:
            return units, True
        if value in direction.debit:
            return units, False
        raise RowRefused("direction is neither credit nor debit", f"{direction.column}={value!r}")

    def _one_of_two(self, cells: list[str]) -> tuple[int, bool]:
        rule = self._mapping.amount
        found: list[tuple[int, bool]] = []
        for column, credits_customer in ((rule.debit_column, False), (rule.credit_column, True)):
            text = cells[self._at[column or ""]]
            if text and text not in rule.empty:
                found.append((self._units(text), credits_customer))
        if not found:
            raise RowRefused("amount is empty", f"in {rule.debit_column} and {rule.credit_column}")
        moved = [one for one in found if one[0]] or found[:1]
        if len(moved) > 1:
            raise RowRefused("amount is both a debit and a credit")
        if moved[0][0] < 0:
            raise RowRefused("amount is negative", f"{moved[0][0]} minor units")
        return moved[0]

    def _number(self, rule: int | NumberRule[Any], cells: list[str], name: str) -> int:
        if isinstance(rule, int):
            return rule
        value = cells[self._at[rule.column]]
        number: int | None = rule.values.get(value, rule.default)
        if number is None:
            raise RowRefused(f"no {name} for this value", f"{rule.column}={value!r}")
        return number
