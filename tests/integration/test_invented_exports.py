"""Fifteen more habits of banks: what is imported is what a few independent lines add up."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.integration.test_bank_exports import SIGN, Bank, dated

Row = tuple[str, str, Decimal, str]
"""Id, day (ISO), amount with its sign, text."""

WORDS: Final = ("Café", 'He said "hi"', "a, b; c", "two\nlines", "tab\there", "", "'apos'", "ünï")


def rows(count: int = 60, seed: int = 1) -> list[Row]:
    made = random.Random(seed)
    return [
        (
            f"T{number:04d}",
            f"2023-{1 + number // 20:02d}-{1 + number % 20:02d}",
            Decimal(made.choice((-1, 1)) * made.randrange(1, 10**7)) / 100,
            made.choice(WORDS),
        )
        for number in range(count)
    ]


def table(
    lines: list[list[str]],
    delimiter: str = ",",
    *,
    quoting: int = csv.QUOTE_MINIMAL,
    end: str = "\n",
) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows(lines)
    return text.getvalue()


def german(amount: Decimal) -> str:
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))


@attrs.frozen
class Habit:
    """How one bank writes: a file from rows, and the mapping for it."""

    write: Callable[[list[Row]], str | bytes]
    amount: str
    tables: str = SIGN + "\n" + dated('"day"', "%Y-%m-%d")
    file: str = ""
    key: str = '"id"'


HEAD: Final = ["id", "day", "amt", "acct", "text"]
MINUS: Final = dated('"day"', "%Y-%m-%d")


def plain(found: list[Row]) -> list[list[str]]:
    return [HEAD, *([id_, day, f"{amount:.2f}", "me", text] for id_, day, amount, text in found)]


def german_latin(found: list[Row]) -> bytes:
    head = [["Konto", "DE1"], ["Stand", "heute"], [], ["id", "day", "amt", "acct", "text"]]
    body = [
        [id_, f"{day[8:]}.{day[5:7]}.{day[:4]}", german(amount) + " EUR", "me", text]
        for id_, day, amount, text in found
    ]
    total = [["Summe", "", german(sum((row[2] for row in found), Decimal(0))), "", ""]]
    return table(head + body + total, ";", quoting=csv.QUOTE_ALL, end="\r\n").encode("latin-1")


def two_columns(found: list[Row]) -> str:
    head = ["id", "day", "out", "in", "acct", "bal"]
    balance, lines = Decimal(100), [head]
    for id_, day, amount, _ in found:
        balance += amount
        sides = [f"{-amount:,.2f}", ""] if amount < 0 else ["0.00", f"{amount:,.2f}"]
        lines.append([id_, day, *sides, "me", f"{balance:,.2f}"])
    return table(lines)


def newest_first_utf16(found: list[Row]) -> bytes:
    body = [
        [id_, f"{day[5:7]}/{day[8:]}/{day[:4]}", f"(${-amount:,.2f})" if amount < 0
         else f"${amount:,.2f}", "me", text]
        for id_, day, amount, text in reversed(found)
    ]  # fmt: skip
    return table([HEAD, *body], "\t").encode("utf-16")


def json_lines(found: list[Row]) -> bytes:
    lines = [
        json.dumps({"id": id_, "booked": {"day": day}, "acct": "me", "note": text,
                    "money": {"amt": float(amount), "cur": "EUR"}}, ensure_ascii=False)
        for id_, day, amount, text in found
    ]  # fmt: skip
    return "\ufeff".encode() + "\n\n".join(lines).encode()


def debit_words(found: list[Row]) -> str:
    body = [
        [id_, day, f"{abs(amount):.2f}", "me", text, "DBIT" if amount < 0 else "CRDT"]
        for id_, day, amount, text in found
    ]
    return "sep=|\n" + table([[*HEAD, "CdtDbtInd"], *body], "|", quoting=csv.QUOTE_NONNUMERIC)


def suffixes(found: list[Row]) -> str:
    body = [
        [id_, day, f"{abs(amount):,.2f} {'DR' if amount < 0 else 'CR'}", "me", text]
        for id_, day, amount, text in found
    ]
    return table([HEAD, *body])


def no_ids(found: list[Row]) -> str:
    """Every row three times, as a tram would."""
    body = [[day, f"{amount:.2f}", "me"] for _, day, amount, _ in found for _ in range(3)]
    return table([["day", "amt", "acct"], *body])


def local_times(found: list[Row]) -> str:
    body = [
        [id_, day, f"{1 + index % 12:02d}:30 {'PM' if index % 2 else 'AM'}", f"{amount:.2f}", "me"]
        for index, (id_, day, amount, _) in enumerate(found)
    ]
    return table([["id", "day", "time", "amt", "acct"], *body])


def swiss(found: list[Row]) -> str:
    body = [
        [id_, day, f"{amount:,.2f}".replace(",", "\u2019"), "me", text]
        for id_, day, amount, text in found
    ]
    return table([HEAD, *body], ";")


def trailing_minus(found: list[Row]) -> str:
    body = [
        [id_, day, f"{abs(amount):.2f}" + "-" * (amount < 0), "me", text]
        for id_, day, amount, text in found
    ]
    return table([HEAD, *body], quoting=csv.QUOTE_ALL, end="\r")


def two_currencies(found: list[Row]) -> str:
    body = [
        [id_, day, f"{amount:.2f}", "me", "EUR" if index % 3 else "USD"]
        for index, (id_, day, amount, _) in enumerate(found)
    ]
    return table([HEAD, *body])


def pending_too(found: list[Row]) -> str:
    body = [
        [id_, day, f"{amount:.2f}", "me", "booked"] for id_, day, amount, _ in found
    ]  # fmt: skip
    pending = [["P1", "2023-01-05", "-77.00", "me", "pending"]]
    return table([HEAD, *body[:10], *pending, *body[10:]])


def headless(found: list[Row]) -> str:
    return table(plain(found)[1:])


def unix_times(found: list[Row]) -> str:
    body = [
        [id_, str(1_672_531_200_000 + 86_400_000 * index), f"{amount:.2f}", "me", text]
        for index, (id_, _, amount, text) in enumerate(found)
    ]
    random.Random(3).shuffle(body)
    return table([HEAD, *body])


AMT: Final = 'column = "amt"'
HABITS: Final = {
    "German, Latin-1, preamble, total": Habit(
        german_latin, AMT + '\ndecimal_mark = ","\ngroup_mark = "."\ncurrency = "EUR"',
        SIGN + "\n" + dated('"day"', "%d.%m.%Y"),
        'delimiter = ";"\nencoding = "iso8859-1"\nskip_lines = 3\nskip_last_lines = 1',
    ),
    "debits and credits apart, with a balance": Habit(
        two_columns, 'debit_column = "out"\ncredit_column = "in"\ngroup_mark = ","',
        MINUS + '[balance]\ncolumn = "bal"',
    ),
    "newest first, tabs, brackets, UTF-16": Habit(
        newest_first_utf16, AMT + '\ngroup_mark = ","\ncurrency = "$"\nnegative = "(#)"',
        SIGN + "\n" + dated('"day"', "%m/%d/%Y", 'order = "newest_first"'),
        'delimiter = "\\t"\nencoding = "utf-16"',
    ),
    "JSON Lines, nested, floats, BOM": Habit(
        json_lines, 'column = "money.amt"',
        SIGN + "\n" + dated('"booked.day"', "%Y-%m-%d"), 'format = "jsonl"',
    ),
    "a word for the sign, sep= line": Habit(
        debit_words, AMT,
        '[direction]\ncolumn = "CdtDbtInd"\ncredit = "CRDT"\ndebit = "DBIT"\n' + MINUS,
        'delimiter = "|"\nskip_lines = 1',
    ),
    "CR and DR": Habit(
        suffixes, AMT + '\ngroup_mark = ","\npositive = "# CR"\nnegative = "# DR"',
    ),
    "no ids, equal rows": Habit(
        no_ids, AMT, key='["day", "amt"]\nkey_occurrence = true',
    ),
    "date and time apart, local": Habit(
        local_times, AMT,
        SIGN + "\n" + dated('["day", "time"]', "%Y-%m-%d %I:%M %p",
                            'zone = "Europe/London"\nsort = true'),
    ),
    "Swiss": Habit(swiss, AMT + '\ngroup_mark = "\'"', file='delimiter = ";"'),
    "a minus behind, old Mac lines": Habit(trailing_minus, AMT + '\nnegative = "#-"'),
    "two currencies": Habit(two_currencies, AMT),
    "pending rows to ignore": Habit(
        pending_too, AMT, file='[[file.ignore]]\nwhen = { text = "pending" }',
    ),
    "no header": Habit(headless, AMT, file=f"columns = {json.dumps(HEAD)}"),
    "milliseconds, in no order": Habit(
        unix_times, AMT, SIGN + "\n" + dated('"day"', "unix_ms", "sort = true"),
    ),
    "plain": Habit(lambda found: table(plain(found)), AMT),
}  # fmt: skip


@pytest.mark.parametrize("name", HABITS)
def test_what_is_imported_is_what_the_rows_add_up_to(tmp_path: Path, name: str) -> None:
    """And a second import adds nothing; a changed amount or a lost row does not go unnoticed."""
    habit, bank, found = HABITS[name], Bank(tmp_path), rows()
    times = 3 if habit.write is no_ids else 1
    bank.map(habit.key, habit.amount, "acct", habit.tables, habit.file)
    if habit.write is two_currencies:
        text = (tmp_path / "m.toml").read_text(encoding="utf-8")
        by_text = 'ledger = { column = "text", values = { EUR = 978, USD = 840 } }'
        text = text.replace("ledger = 1", by_text).replace("id = 900, ", "")
        (tmp_path / "m.toml").write_text(text, encoding="utf-8")
    data = habit.write(found)
    report = bank.good(data)
    assert report["transfers_created"] == len(found) * times
    assert bank.moved() == times * int(sum(row[2] for row in found) * 100)
    assert bank.good(data)["already_there"] == len(found) * times
    changed = list(found)
    changed[7] = (*changed[7][:2], changed[7][2] + 1, changed[7][3])
    if habit.write is not no_ids:  # there the amount is the identity
        assert "EXISTS_WITH_DIFFERENT" in bank.bad(habit.write(changed))
