"""Files as banks write them: each gives the right balance, or is refused by name."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import Result

from nostro import Ledger
from nostro.journal.rows import accounts_from_rows
from nostro.tools.cli.import_export import import_file
from nostro.tools.importing import rows as rows_module
from nostro.tools.importing import source, survey
from tests.integration.test_cli import run

FILES: Final = Path(__file__).parents[1] / "data" / "reports"

MAPPING: Final = """\
namespace = "bank"
[file]
{file}
[transfer]
key = {key}
ledger = 1
code = 1
[amount]
scale = 2
{amount}
[customer]
column = "{customer}"
id = "hash"
code = 10
{tables}
[counter]
default = "others"
[counter.accounts]
others = {{ id = 900, code = 20 }}
"""
SIGN: Final = "[direction]\nfrom_sign = true"


def dated(column: str, form: str, more: str = "") -> str:
    return f'[date]\ncolumn = {column}\nformat = "{form}"\n{more}\n'


class Bank:
    """A ledger, and a mapping that its files are imported with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.books = folder / "books"

    def map(
        self,
        key: str,
        amount: str,
        customer: str,
        tables: str = SIGN,
        file: str = "",
    ) -> None:
        text = MAPPING.format(key=key, amount=amount, customer=customer, tables=tables, file=file)
        (self.folder / "m.toml").write_text(text, encoding="utf-8")

    def load(self, file: Path | str | bytes, *options: str) -> Result:
        if isinstance(file, str):
            file = file.encode()
        if isinstance(file, bytes):
            (self.folder / "data").write_bytes(file)
            file = self.folder / "data"
        return run("import", self.books, file, "-m", self.folder / "m.toml", "-q", *options)

    def good(self, file: Path | str | bytes, *options: str) -> dict[str, Any]:
        result = self.load(file, *options, "--json")
        assert result.exit_code == 0, result.output
        report: dict[str, Any] = json.loads(result.stdout)
        return report

    def bad(self, file: Path | str | bytes, *options: str) -> str:
        """Return what was said; nothing was posted unless rows were to be skipped."""
        before = self.moved()
        result = self.load(file, *options)
        assert result.exit_code == 1, result.output
        if "skip" not in options:
            assert self.moved() == before
        return result.stderr

    def skipped(self, file: Path | str | bytes) -> tuple[list[list[str]], str]:
        """Return the rows that were skipped, each with line and reason, and what was said."""
        errors = self.folder / "bad.csv"
        errors.unlink(missing_ok=True)
        told = self.bad(file, "--on-error", "skip", "--errors-to", str(errors))
        with errors.open(encoding="utf-8", newline="") as text:
            return list(csv.reader(text))[1:], told

    def moved(self) -> int:
        """The customers' balance in minor units: minus that of the other side."""
        if not self.books.exists():
            return 0
        with Ledger.open(self.books, create=False, read_only=True) as ledger:
            found = [one for one in accounts_from_rows(ledger.accounts()) if one.code == 20]
        return sum(account.debits_posted - account.credits_posted for account in found)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path)


DAY: Final = dated('"Date"', "%Y-%m-%d")
TAPS: Final = '["Date", "Amount", "Description"]'


def test_equal_rows_are_repeats_unless_their_occurrences_count(bank: Bank) -> None:
    """Three taps on one tram are three fares; nothing is called already there in silence."""
    file = FILES / "equal-rows.csv"
    bank.map(TAPS, 'column = "Amount"', "Account", SIGN + "\n" + DAY)
    told = bank.bad(file)
    assert "line 3: key is that of an earlier row: line 2, with equal values" in told
    assert "transfer.key_occurrence = true" in told
    rows, told = bank.skipped(file)
    assert [row[0] for row in rows] == ["3", "4"]
    assert "2 rows skipped" in told
    assert bank.moved() == -825


def test_counted_occurrences_are_the_same_in_every_run(bank: Bank) -> None:
    """A later download with one more equal row adds that row only."""
    file = (FILES / "equal-rows.csv").read_text(encoding="utf-8")
    bank.map(TAPS + "\nkey_occurrence = true", 'column = "Amount"', "Account", SIGN + "\n" + DAY)
    assert bank.good(file)["transfers_created"] == 4
    assert bank.moved() == -2177
    again = bank.good(file + "2024-05-25,-1.49,APP STORE,chk\n")
    assert (again["transfers_created"], again["already_there"]) == (1, 4)
    assert bank.moved() == -2326


def test_a_reference_that_several_payments_share_is_a_conflict(bank: Bank) -> None:
    """Keyed by reference alone the rent of February would be missing."""
    file = FILES / "reused-reference.csv"
    tables = SIGN + "\n" + dated('"date"', "%Y-%m-%d")
    bank.map('"ref"', 'column = "amt"', "acct", tables)
    assert "line 3: key is that of an earlier row: line 2, on another date" in bank.bad(file)
    rows, _ = bank.skipped(file)
    assert [row[0] for row in rows] == ["3", "4"]
    bank.books = bank.folder / "other"
    bank.map('["ref", "date"]', 'column = "amt"', "acct", tables)
    bank.good(file)
    assert bank.moved() == -286200


def test_a_row_that_changed_its_date_conflicts_with_the_transfer_of_its_key(bank: Bank) -> None:
    """In a later run as well; the same date in another order is no change."""
    tables = SIGN + "\n" + dated('"date"', "%Y-%m-%d")
    bank.map('"ref"', 'column = "amt"', "acct", tables)
    head = "ref,date,amt,memo,acct\n"
    bank.good(head + "A,2024-01-02,-950.00,Rent,g\nB,2024-01-02,-1.00,Cafe,g\n")
    told = bank.bad(head + "B,2024-01-02,-1.00,Cafe,g\nA,2024-02-02,-950.00,Rent,g\n")
    assert "line 3: date differs from that of the ledger's transfer" in told
    assert "the ledger has another transfer with this key: check transfer.key" in told
    assert bank.good(head + "B,2024-01-02,-1.00,Cafe,g\nA,2024-01-02,-950.00,Rent,g\n")[
        "already_there"
    ] == 2  # fmt: skip


def test_an_id_that_a_fee_shares_with_its_payment_is_refused_by_name(bank: Bank) -> None:
    """The hint is about the key."""
    tables = SIGN + "\n" + dated('"date"', "%Y-%m-%d")
    bank.map('"fitid"', 'column = "amt"', "acct", tables)
    told = bank.bad(FILES / "repeated-id.csv")
    assert "line 3: key is that of an earlier row: line 2: EXISTS_WITH_DIFFERENT_AMOUNT" in told
    assert "transfer.key" in told
    head = "fitid,date,amt,memo,acct\n"
    bank.good(head + "F1,2023-11-20,-100.00,HOTEL,cc\n")
    told = bank.bad(head + "F1,2023-11-20,-3.00,FEE,cc\n")
    assert "line 2: refused by the ledger: EXISTS_WITH_DIFFERENT_AMOUNT" in told
    assert "check transfer.key" in told
    bank.map('["fitid", "amt"]', 'column = "amt"', "acct", tables)
    bank.books = bank.folder / "other"
    bank.good(FILES / "repeated-id.csv")
    assert bank.moved() == -10800


def test_a_quote_that_swallows_rows_is_named(bank: Bank) -> None:
    """Inch marks in two rows hide the ten between them."""
    file = FILES / "quotes-in-text.csv"
    count = len(file.read_text(encoding="utf-8").splitlines()) - 1
    bank.map('"id"', 'column = "amt"', "acct")
    told = bank.bad(file)
    assert "line 11: a cell swallows lines that look like rows: lines 11 to 21" in told
    assert 'file.quote = ""' in told
    rows, told = bank.skipped(file)
    assert len(rows) == 11
    assert "11 rows skipped" in told
    assert bank.moved() == 100 * (count - 11)
    bank.map('"id"', 'column = "amt"', "acct", file='quote = ""')
    bank.good(file)
    assert bank.moved() == 100 * count == 4000


def test_a_quote_that_never_closes_is_named_and_costs_its_own_row(bank: Bank) -> None:
    """It says how much would have been lost."""
    file = FILES / "unclosed-quote.csv"
    count = len(file.read_text(encoding="utf-8").splitlines()) - 1
    bank.map('"id"', 'column = "amt"', "acct")
    told = bank.bad(file)
    assert "line 11: a quote opens in this line and does not close where a cell ends" in told
    assert f"it would swallow {count - 10} more lines, up to line {count + 1}" in told
    rows, told = bank.skipped(file)
    assert len(rows) == 1
    assert rows[0][3] == '10,1.00,"5 inch pipe,a'
    assert bank.moved() == 100 * (count - 1)


ZONE: Final = 'zone = "America/New_York"'
WHEN: Final = "%Y-%m-%d %H:%M:%S %Z"


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_zone_names_need_a_zone(bank: Bank, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """Whatever the machine's own is."""
    monkeypatch.setenv("TZ", zone)
    file = FILES / "zone-names.csv"
    bank.map('"Id"', 'column = "Amt"', "Cur", SIGN + "\n" + dated('"When"', WHEN))
    result = bank.load(file)
    assert result.exit_code == 2
    assert '%Z needs a zone, for example date.zone = "America/New_York"' in result.stderr
    for form in (WHEN, WHEN.replace("%Z", "EDT")):
        bank.books = bank.folder / form[-3:].strip("%")
        bank.map('"Id"', 'column = "Amt"', "Cur", SIGN + "\n" + dated('"When"', form, ZONE))
        assert bank.good(file)["date_first"] == "2017-06-21T02:34:28.000000000Z"


def test_newest_first_is_recognised_before_anything_is_posted(bank: Bank) -> None:
    """Reversed, with rows of a day in their order, no balance is below what the bank shows."""
    file = FILES / "newest-first.csv"
    amount = 'column = "Amount"\ndecimal_mark = ","'
    for more in ("", "sort = true"):
        bank.map('"Ref"', amount, "Acct", SIGN + "\n" + dated('"Date"', "%d.%m.%Y", more))
        told = bank.bad(file)
        assert 'line 3: rows run from the newest to the oldest: set date.order = "newest' in told
        assert "rows run from the newest" in bank.bad(file, "--on-error", "skip")
        assert not bank.books.exists()
    for more in ('order = "newest_first"', 'order = "newest_first"\nsort = true'):
        bank.books = bank.folder / str(len(more))
        tables = SIGN + "\n" + dated('"Date"', "%d.%m.%Y", more)
        bank.map('"Ref"', amount, "Acct", tables + '[balance]\ncolumn = "Balance"')
        bank.good(file)
        assert bank.moved() == 100


def test_a_second_download_of_a_day_is_refused_before_anything_is_posted(bank: Bank) -> None:
    """And it says why: the ledger already has the other rows of that day."""
    bank.map('["Date", "Vendor"]', 'column = "Amount"', "Card", SIGN + "\n" + DAY)
    bank.good(FILES / "late-noon.csv")
    told = bank.bad(FILES / "late-evening.csv")
    assert "line 2: refused by the ledger: IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS" in told
    assert "nothing was posted; the ledger already has later events" in told


def test_debits_and_credits_may_have_a_column_each(bank: Bank) -> None:
    """An agreed text means none; the running balance agrees."""
    amount = 'debit_column = "Debit"\ncredit_column = "Credit"\nempty = "-"'
    bank.map('["Date", "Details"]', amount, "Acct", DAY + '[balance]\ncolumn = "Balance"')
    bank.good(FILES / "debit-credit-columns.csv")
    assert bank.moved() == 51000
    head = "Date,Details,Debit,Credit,Balance,Acct\n"
    assert "amount is both a debit and a credit" in bank.bad(head + "2024-02-04,x,1,2,,c\n")
    assert "amount is negative" in bank.bad(head + "2024-02-04,x,-1,,,c\n")
    assert "amount is empty" in bank.bad(head + "2024-02-04,x,-,,,c\n")
    bank.good(head + "2024-02-04,x,1.00,0.00,509.00,c\n")
    assert bank.moved() == 50900


def test_lines_above_the_header_and_a_total_below_are_left_out(bank: Bank) -> None:
    """What the mapping leaves out is counted."""
    amount = 'column = "Betrag (EUR)"\ndecimal_mark = ","\ngroup_mark = "."'
    tables = SIGN + "\n" + dated('"Buchungstag"', "%d.%m.%Y")
    ignore = '[[file.ignore]]\nwhen = { Buchungstag = "Kontostand" }'
    shape = 'encoding = "latin-1"\ndelimiter = ";"\nskip_lines = 5'
    file = FILES / "preamble-footer-latin1.csv"
    bank.map('"Kundenreferenz"', amount, "BLZ", tables, file=shape)
    assert "stopped at line 10" in bank.bad(file)
    for more in (f"\n{ignore}", "\nskip_last_lines = 1"):
        bank.books = bank.folder / str(len(more))
        bank.map('"Kundenreferenz"', amount, "BLZ", tables, file=shape + more)
        report = bank.good(file)
        assert (report["transfers_created"], report["ignored"]) == (3, 1)
        assert bank.moved() == 126641


CURRENCY: Final = 'currency = ["$", "USD"]\ngroup_mark = ","\n'
SIGNS: Final = 'negative = ["(#)", "#-", "# DR"]\npositive = "# CR"'
SPELLINGS: Final = {
    "plain": ("", [7, 8, 9, 18, 19, 23]),
    "a currency": (CURRENCY, [3, 4, 5, 7, 8, 9, 13, 18, 19, 20, 23]),
    "everything": (CURRENCY + SIGNS, [*range(1, 10), 11, 12, 13, 18, 19, 20, 23]),
    "spaces": ('group_mark = " "', [7, 8, 9, 14, 15, 18, 19, 23]),
}  # fmt: skip
VALUES: Final = {
    1: -12345, 2: -106700, 3: -2000, 4: 123456, 5: 1200, 6: -123456, 7: -10000, 8: -10000, 9: 500,
    11: 25000, 12: -25000, 13: -2257, 14: 123456, 15: 123456, 18: 50, 19: 500, 20: 123400,
    23: 123456,
}  # fmt: skip


@pytest.mark.parametrize("allowed", SPELLINGS)
def test_an_amount_is_read_as_the_mapping_allows_or_refused(bank: Bank, allowed: str) -> None:
    """None of 23 spellings is misread."""
    more, read = SPELLINGS[allowed]
    file = FILES / "amount-spellings.csv"
    bank.map('"n"', f'column = "amt"\n{more}', "acc", file='delimiter = ";"')
    rows, _ = bank.skipped(file)
    refused = {int(row[3]) for row in rows}
    assert refused == set(range(1, 24)) - set(read)
    assert bank.moved() == sum(VALUES[n] for n in read)


def test_spaces_of_every_kind_group_digits(bank: Bank) -> None:
    """Narrow ones, and ones that do not break, beside a currency sign."""
    amount = 'column = "amt"\ndecimal_mark = ","\ngroup_mark = " "\ncurrency = "€"'
    bank.map('"n"', amount, "acc", file='delimiter = ";"')
    bank.good(FILES / "amount-spellings-fr.csv")
    assert bank.moved() == 3 * 123456 - 123456 + 1200 + 123456


def test_a_date_and_a_time_in_two_columns_are_one_instant(bank: Bank) -> None:
    """Rows that never happened are left out, by their status, and counted."""
    when = dated('["Date", "Time"]', "%m/%d/%Y %H:%M:%S", ZONE)
    ignore = '[[file.ignore]]\nwhen = { Status = ["Denied", "Pending"] }'
    balance = '[balance]\ncolumn = "Balance"\n'
    amount = 'column = "Net"\ngroup_mark = ","'
    bank.map('"Transaction ID"', amount, "Currency", f"{SIGN}\n{when}{balance}", ignore)
    report = bank.good(FILES / "fee-columns.csv")
    assert (report["ignored"], report["date_first"]) == (1, "2017-06-21T02:34:28.000000000Z")
    assert bank.moved() == 139106


def test_a_word_may_give_the_sign(bank: Bank) -> None:
    """With a byte order mark, a cell of two lines, and amounts of few digits."""
    direction = '[direction]\ncolumn = "Af Bij"\ncredit = "Bij"\ndebit = "Af"\n'
    tables = direction + dated('"Datum"', "%Y%m%d")
    amount = 'column = "Bedrag (EUR)"\ndecimal_mark = ","'
    key = '["Datum", "Naam / Omschrijving", "Bedrag (EUR)"]'
    for encoding in ("utf-8", "utf_8", "UTF8"):
        bank.books = bank.folder / encoding
        shape = f'delimiter = ";"\nencoding = "{encoding}"'
        bank.map(key, amount, "Rekening", tables, file=shape)
        bank.good(FILES / "sign-by-word-bom.csv")
        assert bank.moved() == 208050


def test_a_running_balance_that_does_not_add_up_is_named(bank: Bank) -> None:
    """Something is missing, doubled or changed."""
    tables = SIGN + "\n" + dated('"date"', "%Y-%m-%d") + '[balance]\ncolumn = "bal"\n'
    bank.map('"id"', 'column = "amt"', "acct", tables)
    told = bank.bad(FILES / "running-balance.csv")
    assert "line 4: balance does not follow from the row before: 64.00 and not 65.00" in told


HEAD: Final = "id,date,amt,acct\n"


def plain(bank: Bank, form: str = "%Y-%m-%d", more: str = "", file: str = "") -> None:
    """A mapping for files with the columns of HEAD."""
    tables = f"{SIGN}\n" + dated('"date"', form, more)
    bank.map('"id"', 'column = "amt"', "acct", tables, file)


def test_one_bad_row_keeps_every_row_out(bank: Bank) -> None:
    """So the corrected file can always be imported, in whatever order it needs then."""
    plain(bank, more="sort = true")
    bank.good(HEAD + "0,2024-01-01,1.00,a\n")
    told = bank.bad(HEAD + "1,2024-02-01,1.00,a\n2,2024-13-01,1.00,a\n3,2024-03-01,1.00,a\n")
    assert "nothing was posted" in told
    bank.good(HEAD + "1,2024-02-01,1.00,a\n2,2024-01-15,1.00,a\n3,2024-03-01,1.00,a\n")
    assert bank.moved() == 400


def test_what_the_ledger_would_refuse_keeps_every_row_out(bank: Bank) -> None:
    """No id is used up, and no later row goes in before the correction."""
    plain(bank)
    text = (bank.folder / "m.toml").read_text(encoding="utf-8")
    limited = text.replace("code = 10", 'code = 10\nflags = "debits_must_not_exceed_credits"')
    (bank.folder / "m.toml").write_text(limited, encoding="utf-8")
    rows = ["1,2024-01-01,5.00,a\n", "2,2024-01-02,-9.00,a\n", "3,2024-01-03,1.00,a\n"]
    told = bank.bad(HEAD + "".join(rows))
    assert "line 3: refused by the ledger: EXCEEDS_CREDITS" in told
    assert "nothing was posted; the account's limit forbids this row" in told
    rows[1:1] = ["9,2024-01-01,4.00,a\n"]
    bank.good(HEAD + "".join(rows))
    assert bank.moved() == 100


def test_rows_in_no_order_are_found_before_the_first_is_posted(bank: Bank) -> None:
    """The line is named, and the way to sort."""
    plain(bank)
    rows = "1,2024-02-01,1.00,a\n2,2024-01-15,1.00,a\n3,2024-03-01,1.00,a\n"
    told = bank.bad(HEAD + rows)
    assert "line 3: date is earlier than that of the row before" in told
    assert "set date.sort = true" in told
    plain(bank, more="sort = true")
    bank.good(HEAD + rows)
    assert bank.moved() == 300


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_skipped_row_ends_with_exit_code_1(bank: Bank, dry: tuple[str, ...]) -> None:
    """Whether the file or the ledger is why."""
    plain(bank)
    bank.good(HEAD + "1,2024-01-01,5.00,a\n")
    refused = "refused by the ledger: EXISTS_WITH_DIFFERENT_AMOUNT"
    for row, reason in (
        ("2,2024-01-02,x,a\n", "amount is not a number"),
        ("1,2024-01-01,6.00,a\n", refused),
        ("3,2024-01-02,1.00\n", "wrong number of columns"),
    ):
        told = bank.bad(HEAD + row, "--on-error", "skip", *dry)
        assert f"1 row skipped; the first: line 2: {reason}" in told


@pytest.mark.parametrize(
    ("group", "text", "units"),
    [
        ("", ".50", 50), (",", ".50", 50), ("", "5.", 500), (",", "5.", 500), ("", "1e3", None),
        (",", "1e3", None), ("", "-3.000", None), (",", "-3.000", -300), ("", "12.340", None),
        ("", "1234.500", 123450), ("", "0.000", 0), ("", "-1.2500", -125), (",", "1,234", 123400),
        ("", "1,234", None), (",", "12,34", None), ("", "٣", None), ("", "1 000", None),
        (" ", "1 000", 100000), ("'", "1\u2019000.5", 100050), ("", "\u22125.00", -500),
        ("", ".", None), ("", "+-5", None), (".", "5", None),
    ],
)  # fmt: skip
def test_an_amount_has_one_meaning_or_is_refused(
    bank: Bank, group: str, text: str, units: int | None
) -> None:
    """A group mark decides what it can decide, and nothing else."""
    bank.map('"id"', f'column = "amt"\ngroup_mark = "{group}"', "acct")
    data = f'id,amt,acct\n1,"{text}",a\n'
    if units is None:
        assert bank.load(data).exit_code == (2 if group == "." else 1)
    else:
        bank.good(data)
    assert bank.moved() == (units or 0)


def test_an_amount_or_a_date_written_in_another_way_is_the_same_key(bank: Bank) -> None:
    """A file that a spreadsheet has saved again doubles nothing."""
    bank.map('["date", "amt"]', 'column = "amt"', "acct", SIGN + "\n" + dated('"date"', "%d.%m.%Y"))
    bank.good(HEAD + "1,01.05.2024,12.50,a\n")
    assert bank.good(HEAD + "1,1.5.2024,+12.5,a\n")["already_there"] == 1
    bank.map('["id", "amt"]', 'column = "amt"', "acct")
    bank.books = bank.folder / "undated"
    bank.good(HEAD + "1,,12.50,a\n")
    assert bank.good(HEAD + "1,,12.5,a\n")["already_there"] == 1
    assert "line 3: key is that of an earlier row" in bank.bad(HEAD + "2,,7.0,a\n2,,7,a\n")


def test_json_columns_may_come_after_a_thousand_rows(bank: Bank) -> None:
    """A column that never comes is named before anything is posted."""
    bank.map('"id"', 'column = "amt"', "acct", SIGN, 'format = "jsonl"')
    rows = [{"id": n, "amt": "1.00", "acct": "a"} for n in range(1_500)]
    rows[1_200]["note"] = "late"
    ignore = 'format = "jsonl"\n[[file.ignore]]\nwhen = { note = "late" }'
    bank.map('"id"', 'column = "amt"', "acct", SIGN, ignore)
    report = bank.good("\n".join(map(json.dumps, rows)))
    assert (report["transfers_created"], report["ignored"]) == (1_499, 1)
    assert bank.moved() == 149_900
    del rows[1_200]["note"]
    result = bank.load("\n".join(map(json.dumps, rows)))
    assert result.exit_code == 2
    assert "the file has no column 'note'" in result.stderr


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        ("2024-03-10 01:30:00", "", "2024-03-10T06:30:00"),
        ("2024-03-10 02:30:00", "", None),
        ("2024-03-10 03:30:00", "", "2024-03-10T07:30:00"),
        ("2024-11-03 01:30:00", "", None),
        ("2024-11-03 01:30:00", 'ambiguous = "earlier"', "2024-11-03T05:30:00"),
        ("2024-11-03 01:30:00", 'ambiguous = "later"', "2024-11-03T06:30:00"),
        ("2024-11-03 01:30:00 EDT", "", "2024-11-03T05:30:00"),
        ("2024-11-03 01:30:00 EST", "", "2024-11-03T06:30:00"),
        ("2024-07-01 12:00:00 EST", "", None),
    ],
)
def test_an_hour_that_clocks_skip_or_repeat_is_never_guessed(
    bank: Bank, text: str, more: str, told: str | None
) -> None:
    """The zone's name for the time decides, or the mapping."""
    form = "%Y-%m-%d %H:%M:%S" + (" %Z" if text[-1] == "T" else "")
    plain(bank, form, f"{ZONE}\n{more}")
    data = HEAD + f"1,{text},1.00,a\n"
    if told is None:
        assert "America/New_York" in bank.bad(data)
    else:
        assert bank.good(data)["date_first"] == f"{told}.000000000Z"


@pytest.mark.parametrize(
    ("form", "more", "told"),
    [
        ("%Y-%m-%d %I:%M", "", "must have both %I and %p"),
        ("%Y-%m-%d %H:%M %p", "", "must have both %I and %p"),
        ("%Y-%m-%d", ZONE, "date.zone is for times of day"),
        ("%Y-%m-%d %H:%M %z", ZONE, "leave date.zone out"),
        ("unix_s", ZONE, "leave date.zone out"),
        ("%Y-%m-%d %H:%M", 'zone = "Mars/Base"', "is not a time zone that this machine knows"),
        ("%Y-%m-%d %H:%M", 'zone = "../../etc/passwd"', "is not a time zone"),
        ("%Y-%m-%d %H:%M", 'ambiguous = "later"', "needs date.zone"),
        ("%Y-%m-%d", 'order = "newest"', "must be one of oldest_first, newest_first"),
    ],
)
def test_a_date_that_would_be_read_in_two_ways_is_refused_in_the_mapping(
    bank: Bank, form: str, more: str, told: str
) -> None:
    """Half a day or a zone is not left to chance."""
    plain(bank, form, more)
    result = bank.load(HEAD)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_byte_order_mark_of_another_encoding_is_named(bank: Bank) -> None:
    """Without it, the first key would be another one."""
    plain(bank, file='encoding = "latin-1"')
    result = bank.load(b"\xef\xbb\xbf" + HEAD.encode() + b"1,2024-01-01,1.00,a\n")
    assert result.exit_code == 2
    assert "set file.encoding to 'utf-8', not 'latin-1'" in result.stderr
    plain(bank, file='encoding = "utf-16"')
    bank.good((HEAD + "1,2024-01-01,1.00,a\n").encode("utf-16"))
    assert bank.moved() == 100


def test_rows_beyond_memory_wait_in_a_file(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row comes back, in order, also in a second reading."""
    # private: the real size needs more rows than a test writes
    monkeypatch.setattr(survey, "IN_MEMORY_ROWS", 10)
    # private: the real size needs more rows than a test writes
    monkeypatch.setattr(survey, "CHUNK_ROWS", 7)
    # private: the real size needs more rows than a test writes
    monkeypatch.setattr(import_file, "BATCHES_KEPT", 1)
    plain(bank)
    rows = [f"{n},2024-01-{1 + n // 5:02d},{n}.00,{n % 3}\n" for n in range(1, 101)]
    assert bank.good(HEAD + "".join(rows), "--batch-rows", "9")["transfers_created"] == 100
    assert bank.moved() == 100 * sum(range(1, 101))
    told = bank.bad(HEAD + "".join(rows) + rows[50])
    assert "line 102: key is that of an earlier row: line 52" in told


@pytest.mark.parametrize("place", ["mapping", "data"])
@pytest.mark.parametrize("thing", ["a pipe", "/dev/zero", "a directory", "deep", "long"])
def test_what_is_no_file_is_one_clear_line(bank: Bank, place: str, thing: str) -> None:
    """No waiting for ever, no memory without bound."""
    plain(bank)
    (bank.folder / "data").write_text(HEAD, encoding="utf-8")
    odd = bank.folder / "odd"
    if thing == "a pipe":
        os.mkfifo(odd)
    elif thing == "a directory":
        odd.mkdir()
    elif thing == "deep":
        odd.write_text("a = " + "[" * 100_000 + "\n" + "a." * 100_000 + "b = 1", encoding="utf-8")
    elif thing == "long":
        odd.write_bytes(b"x" * (3 << 20))
    else:
        odd = Path(thing)
    mapping, data = bank.folder / "m.toml", bank.folder / "data"
    mapping, data = (odd, data) if place == "mapping" else (mapping, odd)
    result = run("import", bank.books, data, "-m", mapping, "-q")
    assert result.exit_code == 2
    assert len(result.stderr) < 1_500
    assert str(odd) in result.stderr or "the file has no column" in result.stderr
    assert "Traceback" not in result.output


def test_a_pipe_with_rows_is_imported(bank: Bank) -> None:
    """As from a program that unpacks a file."""
    plain(bank)
    command = [sys.executable, "-m", "nostro", "import", str(bank.books), "/dev/stdin", "-q"]
    data = HEAD + "".join(f"{n},2024-01-01,1.00,a\n" for n in range(10_000))
    mapping = ("-m", str(bank.folder / "m.toml"))
    subprocess.run([*command, *mapping], input=data.encode(), check=True)
    assert bank.moved() == 1_000_000


def test_a_row_is_not_left_out_as_a_line_below_the_rows(bank: Bank) -> None:
    """A total is; a bank that stops writing one loses no row."""
    plain(bank, file="skip_last_lines = 2")
    rows = "1,2024-01-01,1.00,a\n2,2024-01-02,2.00,a\n"
    told = bank.bad(HEAD + rows + "Total,,3.00,\n")
    assert "line 3: a row that file.skip_last_lines would leave out" in told
    report = bank.good(HEAD + rows + '"Total ""all""",,3.00,\nPrinted on Monday\n')
    assert (report["transfers_created"], report["ignored"]) == (2, 2)


@pytest.mark.parametrize(
    ("form", "text", "is_read"),
    [
        ("%d%m%Y", "10052024", True), ("%d%m%Y", "1052024", False), ("%Y%m%d", "20240115", True),
        ("%Y%m%d", "2024115", False), ("%d.%m.%Y", "1.5.2024", True), ("%y%m%d", "50101", False),
    ],
)  # fmt: skip
def test_a_date_without_separators_needs_all_its_digits(
    bank: Bank, form: str, text: str, *, is_read: bool
) -> None:
    """A spreadsheet drops the zero of 01052024, and the tenth of May would be read."""
    plain(bank, form)
    assert bank.load(HEAD + f"1,{text},1.00,a\n").exit_code == (0 if is_read else 1)


def test_a_file_that_grows_while_it_is_read_is_refused(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last row may be half a row."""
    plain(bank)
    real = rows_module.RowReader.read

    def read(reader: rows_module.RowReader, row: source.RawRow) -> object:
        if row.line == 2:
            with (bank.folder / "data").open("a", encoding="utf-8") as file:
                file.write("2,2024-01-01,1.00")
        return real(reader, row)

    # private: the file must grow at a chosen row
    monkeypatch.setattr(rows_module.RowReader, "read", read)
    result = bank.load(HEAD + "1,2024-01-01,1.00,a\n")
    assert result.exit_code == 2
    assert "the file changed while it was read" in result.stderr
