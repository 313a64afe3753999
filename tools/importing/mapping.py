"""What a mapping file says: which column means what.

Every class is one table of the file, and every field one of its keys; docs/guides/import.md
explains each with an example. A key that Python reserves has an underscore at its end here. The
types say what a key may hold; ``faults`` finds keys that do not fit each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, Literal, NewType, TypeVar

import attrs

from nostro.journal import AccountFlags
from nostro.tools.nearest_name import nearest

Name = NewType("Name", str)
"""Text that is not empty: a column, a namespace."""
Character = NewType("Character", str)
"""One character that can stand between or around cells."""
Mark = NewType("Mark", str)
"""A :data:`Character`, or empty for none."""
Encoding = NewType("Encoding", str)
"""An encoding of text that Python knows."""
DateFormat = NewType("DateFormat", str)
"""A strptime pattern, or one of rfc3339, unix_s, unix_ms, unix_ns."""
LedgerNumber = NewType("LedgerNumber", int)
Code = NewType("Code", int)
Scale = NewType("Scale", int)
AccountId = NewType("AccountId", int)
Lines = NewType("Lines", int)
"""A number of lines."""
Zone = NewType("Zone", str)
"""A time zone of the IANA database."""
Shape = NewType("Shape", str)
"""How an amount may be written: text around one ``#``."""

Number = TypeVar("Number", LedgerNumber, Code)
Fault = tuple[tuple[str, ...], str]
"""The path of a key below its table, and what is wrong with it."""


@attrs.frozen
class IgnoreRule:
    """Leaves out a row when every column of ``when`` holds one of its values."""

    when: dict[str, frozenset[str]]

    def faults(self) -> Iterator[Fault]:
        if not self.when:
            yield ("when",), "a rule without a condition would leave out every row"


@attrs.frozen
class FileRule:
    """The shape of the file. ``columns`` is empty when its first line names them."""

    format: Literal["csv", "jsonl"] = "csv"
    delimiter: Character | None = None
    quote: Mark | None = None
    encoding: Encoding = Encoding("utf-8")
    columns: tuple[Name, ...] = ()
    trim: bool = True
    skip_lines: Lines = Lines(0)
    skip_last_lines: Lines = Lines(0)
    multiline_rows: bool = False
    ignore: tuple[IgnoreRule, ...] = ()

    @property
    def csv_marks(self) -> tuple[str, str]:
        """The delimiter, and the quote or an empty text."""
        return self.delimiter or ",", '"' if self.quote is None else self.quote

    def faults(self) -> Iterator[Fault]:
        if self.format == "jsonl":
            for key in (
                "delimiter", "quote", "columns", "skip_lines", "skip_last_lines", "multiline_rows",
            ):  # fmt: skip
                if getattr(self, key) not in (None, (), 0):
                    yield (key,), f"file.{key} is for CSV; JSON Lines has none"
        delimiter, quote = self.csv_marks
        if delimiter == quote:
            yield ("quote",), "file.quote must not be the delimiter"


@attrs.frozen
class NumberRule(Generic[Number]):
    """A number for each value of a column. Without a default, other values have none."""

    column: Name
    values: dict[str, Number]
    default: Number | None = None


@attrs.frozen
class UserDataRule:
    """A column that a transfer carries along, and how its cells become numbers."""

    column: Name
    as_: Literal["integer", "hash", "text"] = "integer"


@attrs.frozen
class TransferRule:
    """What identifies a row, and the fields its transfer carries."""

    key: tuple[Name, ...]
    key_occurrence: bool = attrs.field(default=False, kw_only=True)
    ledger: LedgerNumber | NumberRule[LedgerNumber]
    code: Code | NumberRule[Code]
    user_data_128: UserDataRule | None = None
    user_data_64: UserDataRule | None = None
    user_data_32: UserDataRule | None = None

    @property
    def ledger_varies(self) -> bool:
        """Whether rows of one file may belong to different ledgers."""
        return isinstance(self.ledger, NumberRule)

    def faults(self) -> Iterator[Fault]:
        if not self.key:
            yield ("key",), "transfer.key must name the columns that identify a row"


@attrs.frozen
class DateRule:
    """When a row happens. Several columns are joined by a blank."""

    column: tuple[Name, ...]
    format: DateFormat
    sort: bool = False
    order: Literal["oldest_first", "newest_first"] | None = None
    zone: Zone | None = None
    ambiguous: Literal["earlier", "later"] | None = None

    def faults(self) -> Iterator[Fault]:
        directives = set(re.findall("%(.)", self.format or ""))
        if not self.column:
            yield ("column",), "date.column must name a column"
        if "Z" in directives and self.zone is None:
            yield (
                ("format",),
                '%Z needs a zone, for example date.zone = "America/New_York"',
            )
        if self.zone is not None and self.format:
            if "z" in directives or "%" not in self.format:
                yield ("zone",), "dates in date.format have their own zone: leave date.zone out"
            elif not directives & set("HIMSf"):
                yield ("zone",), "date.zone is for times of day, and date.format has none"
        if self.ambiguous is not None and self.zone is None:
            yield ("ambiguous",), "date.ambiguous needs date.zone"


@attrs.frozen
class AmountRule:
    """How much: one column, or one for debits and one for credits of the customer."""

    scale: Scale
    column: Name | None = None
    debit_column: Name | None = None
    credit_column: Name | None = None
    empty: frozenset[str] = frozenset()
    decimal_mark: Character = Character(".")
    group_mark: Mark = Mark("")
    currency: tuple[Name, ...] = ()
    positive: tuple[Shape, ...] = ()
    negative: tuple[Shape, ...] = ()

    @property
    def has_two_columns(self) -> bool:
        return self.debit_column is not None or self.credit_column is not None

    def faults(self) -> Iterator[Fault]:
        if self.has_two_columns:
            for key in ("debit_column", "credit_column"):
                if getattr(self, key) is None:
                    yield (key,), f"amount.{key} is missing"
            if self.column is not None:
                yield ("column",), "amount.column and amount.debit_column exclude each other"
        elif self.column is None:
            yield ("column",), "amount.column is missing"
        elif self.empty:
            yield ("empty",), "amount.empty is for debit_column and credit_column"
        if str(self.group_mark) == self.decimal_mark:
            yield ("group_mark",), "amount.group_mark must not be the decimal mark"


@attrs.frozen
class AccountRule:
    """The accounts that a column names: the customers', or the other side's."""

    column: Name
    code: Code
    id: Literal["integer", "hash"] = "integer"
    flags: AccountFlags = AccountFlags.NONE


@attrs.frozen
class DirectionRule:
    """Which values credit the customer account and which debit it.

    With ``from_sign`` the sign of the amount decides instead: negative debits.
    """

    from_sign: bool = False
    column: Name | None = None
    credit: frozenset[str] = frozenset()
    debit: frozenset[str] = frozenset()

    def faults(self) -> Iterator[Fault]:
        for key in ("column", "credit", "debit"):
            if self.from_sign and getattr(self, key):
                yield (key,), f"direction.{key} and direction.from_sign exclude each other"
            elif not self.from_sign and not getattr(self, key):
                yield (key,), f"direction.{key} is missing"
        for value in sorted(self.credit & self.debit):
            yield (
                ("debit",),
                f"direction.credit and direction.debit must not both hold {value!r}",
            )


@attrs.frozen
class CounterAccount:
    """One named account of the other side; without an ``id``, the id follows from the name."""

    code: Code
    id: AccountId | None = None
    flags: AccountFlags = AccountFlags.NONE


@attrs.frozen
class CounterRule:
    """Posts to ``account`` when every column of ``when`` holds one of its values."""

    when: dict[str, frozenset[str]]
    account: str

    def faults(self) -> Iterator[Fault]:
        if not self.when:
            yield (
                ("when",),
                "a rule without a condition matches every row: use counter.default",
            )


@attrs.frozen
class Counters:
    """The rules of the other side, first match first, and what is used when none matches."""

    accounts: dict[str, CounterAccount]
    rules: tuple[CounterRule, ...] = ()
    default: str | None = None

    def faults(self) -> Iterator[Fault]:
        named: list[tuple[tuple[str, ...], str | None]] = [  # None: the file does not say
            (("rules", str(at), "account"), one.account) for at, one in enumerate(self.rules)
        ]
        if self.default is not None:
            named.append((("default",), self.default))
        for place, name in named:
            if name is not None and name not in self.accounts:
                hint = nearest(name, self.accounts)
                yield place, f"no counter account is named {name!r}{hint}"
        if not named:
            yield ("default",), "counter needs rules, a default, or a column"
        owners: dict[int, str] = {}
        for name, account in self.accounts.items():
            if account.id is not None and owners.setdefault(account.id, name) != name:
                both = f"{owners[account.id]!r} and {name!r}"
                yield ("accounts", name, "id"), f"the accounts {both} have the same id"


@attrs.frozen
class BalanceRule:
    """The column with the customer's balance after each row, to compare with."""

    column: Name


@attrs.frozen
class Mapping:
    """A whole mapping file. ``date`` is None for rows that happen when they are imported."""

    namespace: Name
    transfer: TransferRule
    amount: AmountRule
    customer: AccountRule
    counter: Counters | AccountRule
    direction: DirectionRule | None = None
    file: FileRule = FileRule()
    date: DateRule | None = None
    balance: BalanceRule | None = None

    @property
    def given_counter_ids(self) -> dict[str, int]:
        """The ids that the file gives to counter-accounts, by name."""
        if isinstance(self.counter, AccountRule):
            return {}
        accounts = self.counter.accounts.items()
        return {name: account.id for name, account in accounts if account.id is not None}

    def faults(self) -> Iterator[Fault]:
        if self.amount.has_two_columns and self.direction is not None:
            yield ("direction",), "amount.debit_column gives the direction: leave [direction] out"
        if not self.amount.has_two_columns and self.direction is None:
            yield ("direction",), "the table [direction] is missing"
        if self.transfer.ledger_varies:
            for name in self.given_counter_ids:
                yield (
                    ("counter", "accounts", name, "id"),
                    "an account belongs to one ledger: leave the id out when the ledger varies",
                )

    def columns(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield every column used, with the path of the key that names it."""
        column: str | None
        for column in self.transfer.key:
            yield column, ("transfer", "key")
        for field in ("ledger", "code", "user_data_128", "user_data_64", "user_data_32"):
            rule = getattr(self.transfer, field)
            if isinstance(rule, NumberRule | UserDataRule):
                yield rule.column, ("transfer", field, "column")
        for column in self.date.column if self.date is not None else ():
            yield column, ("date", "column")
        for field, key in (
            ("amount", "column"), ("amount", "debit_column"), ("amount", "credit_column"),
            ("customer", "column"), ("direction", "column"), ("counter", "column"),
            ("balance", "column"),
        ):  # fmt: skip
            column = getattr(getattr(self, field), key, None)
            if column is not None:
                yield column, (field, key)
        for number, ignored in enumerate(self.file.ignore):
            for column in ignored.when:
                yield column, ("file", "ignore", str(number), "when", column)
        if isinstance(self.counter, Counters):
            for number, rule in enumerate(self.counter.rules):
                for column in rule.when:
                    yield column, ("counter", "rules", str(number), "when", column)
