"""What a mapping file says, once it has been read: which column means what.

Every class is one table of the file; docs/guides/import.md explains each key with an example.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from collections.abc import Mapping as ReadOnlyMapping
from typing import Literal

import attrs

from nostro.journal import AccountFlags


class IdRule(enum.Enum):
    """How a cell becomes a 128-bit id."""

    INTEGER = "integer"
    HASH = "hash"


class DataRule(enum.Enum):
    """How a cell becomes a user_data number."""

    INTEGER = "integer"
    HASH = "hash"
    TEXT = "text"


@attrs.frozen
class FileRule:
    """The shape of the file. ``columns`` is empty when its first line names them."""

    format: Literal["csv", "jsonl"]
    delimiter: str
    quote: str | None
    encoding: str
    columns: tuple[str, ...]
    trim: bool


@attrs.frozen
class NumberRule:
    """A constant, or a number per value of a column. ``constant`` is also the default then."""

    constant: int | None
    column: str | None = None
    values: ReadOnlyMapping[str, int] = attrs.field(factory=dict)

    @property
    def varies(self) -> bool:
        return self.column is not None


@attrs.frozen
class UserDataRule:
    column: str
    rule: DataRule
    bits: Literal[128, 64, 32]


@attrs.frozen
class DateRule:
    """``format`` is a strptime pattern, ``rfc3339``, ``unix_s``, ``unix_ms`` or ``unix_ns``."""

    column: str
    format: str
    sort: bool


@attrs.frozen
class AmountRule:
    column: str
    scale: int
    decimal_mark: str
    group_mark: str


@attrs.frozen
class AccountRule:
    """The accounts that a column names: the customers', or the other side's."""

    column: str
    id: IdRule
    code: int
    flags: AccountFlags


@attrs.frozen
class DirectionRule:
    """Which values credit the customer account and which debit it.

    Without a column the sign of the amount decides: negative debits.
    """

    column: str | None
    credit: frozenset[str]
    debit: frozenset[str]


@attrs.frozen
class CounterAccount:
    """One named account of the other side; ``id`` is derived from the name when None."""

    name: str
    id: int | None
    code: int
    flags: AccountFlags


@attrs.frozen
class CounterRule:
    """Posts to ``account`` when every column of ``when`` holds one of its values."""

    when: tuple[tuple[str, frozenset[str]], ...]
    account: CounterAccount


@attrs.frozen
class Counters:
    """The rules of the other side, first match first, and what is used when none matches."""

    rules: tuple[CounterRule, ...]
    default: CounterAccount | None
    accounts: tuple[CounterAccount, ...]


@attrs.frozen
class TransferRule:
    """What identifies a row, and the fields its transfer carries."""

    key: tuple[str, ...]
    ledger: NumberRule
    code: NumberRule
    user_data: tuple[UserDataRule, ...]


@attrs.frozen
class Mapping:
    """A whole mapping file. ``date`` is None for rows that happen when they are imported."""

    namespace: str
    file: FileRule
    transfer: TransferRule
    date: DateRule | None
    amount: AmountRule
    customer: AccountRule
    direction: DirectionRule
    counter: Counters | AccountRule

    def columns(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield every column used, with the place in the mapping file that names it."""
        for key in self.transfer.key:
            yield key, ("transfer", "key")
        yield from _number_columns(self.transfer.ledger, ("transfer", "ledger"))
        yield from _number_columns(self.transfer.code, ("transfer", "code"))
        for data in self.transfer.user_data:
            yield data.column, ("transfer", f"user_data_{data.bits}")
        if self.date is not None:
            yield self.date.column, ("date", "column")
        yield self.amount.column, ("amount", "column")
        yield self.customer.column, ("customer", "column")
        if self.direction.column is not None:
            yield self.direction.column, ("direction", "column")
        if isinstance(self.counter, AccountRule):
            yield self.counter.column, ("counter", "column")
            return
        for number, rule in enumerate(self.counter.rules):
            for column, _ in rule.when:
                yield column, ("counter", "rules", str(number), "when", column)


def _number_columns(
    rule: NumberRule, place: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    if rule.column is not None:
        yield rule.column, (*place, "column")
