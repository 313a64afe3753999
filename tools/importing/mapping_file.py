"""Reads a mapping file. Every fault is found, with its line, before a single row is read."""

from __future__ import annotations

import datetime
import io
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, cast

from nostro.tools.amounts import SCALE_MAX
from nostro.tools.importing.errors import MappingError
from nostro.tools.importing.mapping import (
    AmountRule,
    DataRule,
    DateRule,
    DirectionRule,
    FileRule,
    Mapping,
    NumberRule,
    TransferRule,
    UserDataRule,
)
from nostro.tools.importing.mapping_accounts import U16_MAX, account_rule, other_side
from nostro.tools.importing.toml_table import Document, Problem, Table, nearest

U32_MAX: Final = 2**32 - 1

_NO_MARKS: Final = ("\r", "\n", "\0")
"""What ends a row, or nothing, keeps no cells apart."""

INSTANT_FORMATS: Final = ("rfc3339", "unix_s", "unix_ms", "unix_ns")


def read_mapping(path: Path) -> Mapping:
    """Return the mapping in the file at ``path``.

    Raises:
        MappingError: unreadable, not TOML, or anything in it is unknown, missing or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise MappingError((Problem(path, None, str(error.strerror)),)) from None
    except (ValueError, RecursionError) as error:
        raise MappingError((Problem(path, None, f"not a TOML file: {error}"),)) from None
    document = Document(path, text)
    mapping = _mapping(Table(document, (), data))
    _fail_on_problems(document)
    return mapping


def check_columns(path: Path, mapping: Mapping, columns: Iterable[str]) -> None:
    """Check that every column the mapping uses is one of the file's ``columns``.

    Raises:
        MappingError: naming each unknown column, its line in the mapping and the nearest name.
    """
    known = list(columns)
    document = Document(path, path.read_text(encoding="utf-8"))
    for column, place in mapping.columns():
        if column not in known:
            document.report(place, f"the file has no column {column!r}{nearest(column, known)}")
        elif known.count(column) > 1:
            document.report(place, f"the file has more than one column {column!r}")
    if document.problems:
        document.report((), f"the file's columns are {', '.join(known)}")
    _fail_on_problems(document)


def _fail_on_problems(document: Document) -> None:
    if document.problems:
        unique = dict.fromkeys(document.problems)
        raise MappingError(
            tuple(sorted(unique, key=lambda problem: problem.line or len(unique) + 10**6))
        )


def _mapping(root: Table) -> Mapping:
    transfer = _transfer_rule(root.table("transfer"))
    mapping = Mapping(
        namespace=root.text("namespace"),
        file=_file_rule(root.table("file", required=False)),
        transfer=transfer,
        date=_date_rule(root.table("date")) if root.has("date") else None,
        amount=_amount_rule(root.table("amount")),
        customer=account_rule(root.table("customer")),
        direction=_direction_rule(root.table("direction")),
        counter=other_side(root.table("counter"), transfer.ledger),
    )
    if root.has("namespace") and not mapping.namespace:
        root.report("namespace", "namespace must not be empty")
    root.raw("date")
    root.finish()
    return mapping


def _file_rule(table: Table) -> FileRule:
    form = table.choice("format", ("csv", "jsonl"), "csv")
    rule = FileRule(
        format=cast(Literal["csv", "jsonl"], form),
        delimiter=table.text("delimiter", ","),
        quote=table.text("quote", '"') or None,
        encoding=table.text("encoding", "utf-8"),
        columns=table.texts("columns"),
        trim=table.boolean("trim", default=True),
    )
    for key in ("delimiter", "quote", "columns"):
        if form == "jsonl" and table.has(key):
            table.report(key, f"file.{key} is for CSV; JSON Lines has none")
    if len(rule.delimiter) != 1:
        table.report("delimiter", f"file.delimiter must be one character, not {rule.delimiter!r}")
    if rule.quote is not None and len(rule.quote) != 1:
        table.report("quote", f"file.quote must be one character or empty, not {rule.quote!r}")
    for key, mark in (("delimiter", rule.delimiter), ("quote", rule.quote)):
        if mark in _NO_MARKS:
            table.report(key, f"file.{key} must not be {mark!r}")
    if rule.delimiter == rule.quote:
        table.report("quote", "file.quote must not be the delimiter")
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=rule.encoding)  # as the file will be read
    except (LookupError, ValueError):
        table.report("encoding", f"file.encoding {rule.encoding!r} is not known to Python")
    table.finish()
    return rule


def _transfer_rule(table: Table) -> TransferRule:
    rule = TransferRule(
        key=table.texts("key", required=True),
        ledger=_number_rule(table, "ledger", U32_MAX),
        code=_number_rule(table, "code", U16_MAX),
        user_data=tuple(
            _user_data_rule(table.table(f"user_data_{bits}"), bits)
            for bits in (128, 64, 32)
            if table.has(f"user_data_{bits}")
        ),
    )
    if table.has("key") and not all(rule.key):
        table.report("key", "transfer.key must name the column, or columns, that identify a row")
    table.finish()
    return rule


def _number_rule(parent: Table, key: str, maximum: int) -> NumberRule:
    """Read a constant, or ``{ column = ..., values = { A = 1 }, default = 2 }``."""
    if not isinstance(parent.raw(key), dict):
        return NumberRule(constant=parent.integer(key, 1, maximum))
    table = parent.table(key)
    values = table.table("values")
    rule = NumberRule(
        constant=table.integer("default", 1, maximum) if table.has("default") else None,
        column=table.column(),
        values={value: values.integer(value, 1, maximum) for value in values.keys()},  # noqa: SIM118 - a Table is no dict
    )
    table.finish()
    return rule


def _user_data_rule(table: Table, bits: int) -> UserDataRule:
    rule = UserDataRule(
        column=table.column(),
        rule=DataRule(table.choice("as", tuple(rule.value for rule in DataRule), "integer")),
        bits=cast(Literal[128, 64, 32], bits),
    )
    table.finish()
    return rule


def _date_rule(table: Table) -> DateRule:
    rule = DateRule(
        column=table.column(),
        format=table.text("format"),
        sort=table.boolean("sort", default=False),
    )
    if rule.format and rule.format not in INSTANT_FORMATS and not _reads_dates(rule.format):
        listed = ", ".join(INSTANT_FORMATS)
        hint = nearest(rule.format, INSTANT_FORMATS)
        table.report(
            "format",
            f"date.format {rule.format!r} is neither {listed} nor a strptime pattern with year,"
            f" month and day{hint}",
        )
    table.finish()
    return rule


def _reads_dates(pattern: str) -> bool:
    """Whether strptime knows the pattern, and it keeps year, month and day apart."""
    first = datetime.datetime(1993, 11, 22, tzinfo=datetime.UTC)
    try:
        read = datetime.datetime.strptime(first.strftime(pattern), pattern)  # noqa: DTZ007 - only its day is looked at
    except (ValueError, re.error):  # a directive that stands there twice
        return False
    return read.date() == first.date()


def _amount_rule(table: Table) -> AmountRule:
    rule = AmountRule(
        column=table.column(),
        scale=table.integer("scale", 0, SCALE_MAX),
        decimal_mark=table.text("decimal_mark", "."),
        group_mark=table.text("group_mark", ""),
    )
    if len(rule.decimal_mark) != 1:
        table.report("decimal_mark", "amount.decimal_mark must be one character")
    if len(rule.group_mark) > 1 or rule.group_mark == rule.decimal_mark:
        table.report("group_mark", "amount.group_mark must be one character, not the decimal mark")
    table.finish()
    return rule


def _direction_rule(table: Table) -> DirectionRule:
    if table.boolean("from_sign", default=False):
        for key in ("column", "credit", "debit"):
            if table.raw(key) is not None:
                table.report(key, f"direction.{key} and direction.from_sign exclude each other")
        table.finish()
        return DirectionRule(None, frozenset(), frozenset())
    rule = DirectionRule(
        column=table.column(),
        credit=frozenset(table.texts("credit", required=True)),
        debit=frozenset(table.texts("debit", required=True)),
    )
    for value in sorted(rule.credit & rule.debit):
        table.report("debit", f"the value {value!r} stands under both direction.credit and .debit")
    table.finish()
    return rule
