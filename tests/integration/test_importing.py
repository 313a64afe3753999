"""The importer with a real ledger: stops, skips, resumes, and never doubles anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from nostro import Ledger
from nostro.projections import LedgerPreview
from nostro.tools.importing.importer import Importer, Options, Target
from nostro.tools.importing.mapping_file import read_mapping
from nostro.tools.importing.report import Outcome, Report
from nostro.tools.importing.rows import BadRow, Posting, RowReader
from nostro.tools.importing.source import Source
from nostro.tools.importing.survey import Survey

MAPPING = """\
namespace = "shop"
[transfer]
key = "id"
ledger = 1
code = 7
[date]
column = "day"
format = "%Y-%m-%d"
[amount]
column = "amount"
scale = 2
[customer]
column = "customer"
code = 10
flags = ["debits_must_not_exceed_credits"]
[direction]
column = "kind"
credit = "in"
debit = "out"
[counter]
default = "cash"
[counter.accounts]
cash = { id = 900, code = 20 }
"""
HEADER = "id,day,customer,kind,amount"
DAYS = 28


def good_rows(count: int) -> list[str]:
    """Rows that pay into a new account every third row, over the days of one month."""
    return [
        f"r{n},2001-02-{1 + n * DAYS // count:02d},{1 + n // 3},in,{n + 1}.00" for n in range(count)
    ]


class Case:
    """A mapping, a file of rows, and a ledger; each ``run`` imports the file once."""

    def __init__(self, tmp_path: Path) -> None:
        self.books = tmp_path / "books"
        self.mapping = tmp_path / "m.toml"
        self.data = tmp_path / "data.csv"
        self.mapping.write_text(MAPPING, encoding="utf-8")

    def write(self, rows: list[str]) -> None:
        self.data.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")

    def run(self, target: Target, *, interrupt_at: int | None = None, **options: object) -> Report:
        mapping = read_mapping(self.mapping)
        importer = Importer(target, Options(dates=mapping.date, **options))  # type: ignore[arg-type]
        with (
            Source(self.data, mapping.file) as source,
            Survey(source.rows(), RowReader(mapping, source.columns), mapping) as survey,
        ):
            rows = interrupted(iter(survey), interrupt_at)
            return importer.run(rows, disorder=survey.disorder)


Item = Posting | BadRow


def interrupted(rows: Iterator[Item], at: int | None) -> Iterator[Item]:
    """The rows, with a Ctrl-C before number ``at`` (from 0)."""
    for number, row in enumerate(rows):
        if number == at:
            raise KeyboardInterrupt
        yield row


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def balances(ledger: Ledger) -> dict[int, tuple[int, int]]:
    ids = [900, *range(1, 100)]
    return {a.id: (a.debits_posted, a.credits_posted) for a in ledger.lookup_accounts(ids)}


def test_running_an_import_twice_doubles_nothing(case: Case) -> None:
    """The second run finds every row there and changes no balance and no position."""
    case.write(good_rows(100))
    with Ledger.open(case.books) as ledger:
        first = case.run(ledger, batch_rows=7)
        before = (balances(ledger), ledger.position)
        second = case.run(ledger, batch_rows=100)
        assert (balances(ledger), ledger.position) == before
    assert (first.created, first.already_there, first.accounts_created) == (100, 0, 35)
    assert (second.created, second.already_there, second.accounts_created) == (0, 100, 0)


@pytest.mark.parametrize("interrupt_at", [0, 1, 6, 7, 50, 99])
def test_an_interrupted_import_ends_where_an_uninterrupted_one_does(
    case: Case, tmp_path: Path, interrupt_at: int
) -> None:
    """Wherever it stopped, and with other batches: the same accounts, at the same times."""
    case.write(good_rows(100))
    with Ledger.open(case.books) as ledger:
        stopped = case.run(ledger, interrupt_at=interrupt_at, batch_rows=7)
        resumed = case.run(ledger, batch_rows=11)
        twice = ledger.accounts()
    with Ledger.open(tmp_path / "other") as ledger:
        case.run(ledger)
        once = ledger.accounts()
    assert stopped.outcome is Outcome.INTERRUPTED
    assert stopped.created == interrupt_at // 7 * 7
    assert (resumed.already_there, resumed.created) == (stopped.created, 100 - stopped.created)
    assert (twice == once).all()


def test_a_bad_row_stops_the_import_and_its_correction_continues_it(case: Case) -> None:
    """Everything before the bad row is in, nothing after it."""
    rows = good_rows(20)
    case.write([*rows[:10], "r10,2001-02-15,4,in,oops", *rows[11:]])
    with Ledger.open(case.books) as ledger:
        stopped = case.run(ledger)
        assert stopped.outcome is Outcome.STOPPED
        assert str(stopped.bad_row) == "line 12: amount is not a number: 'oops'"
        assert (stopped.created, stopped.line_last) == (10, 11)
        case.write(rows)
        resumed = case.run(ledger)
    assert (resumed.outcome, resumed.already_there, resumed.created) == (Outcome.COMPLETE, 10, 10)


def test_bad_rows_are_skipped_when_asked_and_counted_by_reason(case: Case) -> None:
    """What the file has wrong and what the ledger refuses are told in the same way."""
    rows = good_rows(10)
    rows[3:3] = ["x1,2001-02-08,2,in,", "x2,2000-01-01,2,in,1", "x3,2001-02-08,2,out,900.00"]
    rejected: list[BadRow] = []
    case.write(rows)
    with Ledger.open(case.books) as ledger:
        report = case.run(ledger, skip_bad_rows=True, rejected=rejected.append)
    assert report.outcome is Outcome.COMPLETE
    assert (report.rows_read, report.created) == (13, 10)
    assert report.skipped == {
        "amount is empty": 1,
        "date is earlier than that of the row before": 1,
        "refused by the ledger: EXCEEDS_CREDITS": 1,
    }
    assert sorted(bad.line for bad in rejected) == [5, 6, 7]


ROWS_WITH_FAULTS = [
    *good_rows(5),
    "x1,2001-02-28,1,in,",
    "r4,2001-02-28,1,in,77.00",
    "r4,2001-02-28,2,in,5.00",
    "x2,2001-02-28,1,out,6.00",
    "x3,2001-02-28,1,out,0.01",
    "x3,2001-02-28,1,in,0.01",
    "x4,2001-02-28,3,out,1.00",
    "x5,2001-02-28,4,in,1.00",
    "x6,2001-02-28,4,out,1.00",
    "x6,2001-02-28,4,out,1.00",
    "x7,2000-02-28,4,in,1.00",
]
"""Missing amounts, one key for two rows, more than an account holds, a date out of order."""


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_a_dry_run_tells_what_the_import_will_do(case: Case, batch_rows: int) -> None:
    """Each row has the same outcome in both, with an empty ledger and with one that holds rows."""
    case.write(ROWS_WITH_FAULTS)
    outcomes = []
    for _ in range(2):
        rejected: list[list[BadRow]] = [[], []]
        with LedgerPreview(case.books if case.books.exists() else None) as preview:
            dry = case.run(
                preview, skip_bad_rows=True, batch_rows=batch_rows, rejected=rejected[0].append
            )
        with Ledger.open(case.books) as ledger:
            real = case.run(
                ledger, skip_bad_rows=True, batch_rows=batch_rows, rejected=rejected[1].append
            )
        assert attrs.evolve(dry, seconds=0) == attrs.evolve(real, seconds=0)
        assert rejected[0] == rejected[1]
        outcomes.append((real.created, real.already_there, real.skipped))
    (created, there, first), (created_again, there_again, second) = outcomes
    assert (created, there, created_again, there_again) == (8, 0, 0, 8)
    assert first["refused by the ledger: EXCEEDS_CREDITS"] == 2
    assert second["refused by the ledger: ID_ALREADY_FAILED"] == 2
    assert first["key is that of an earlier row"] == second["key is that of an earlier row"] == 4


def test_an_account_that_cannot_be_made_spoils_its_own_rows_only(case: Case) -> None:
    """An import of older data cannot create accounts before those that are there."""
    case.write(good_rows(3))
    with Ledger.open(case.books) as ledger:
        case.run(ledger)
        case.write(["s1,1999-01-01,50,in,1.00", "s2,2001-03-01,1,in,1.00"])
        position = ledger.position
        with LedgerPreview(case.books) as preview:
            dry = case.run(preview, skip_bad_rows=True)
        report = case.run(ledger, skip_bad_rows=True)
        assert ledger.position == position + 1  # no transfer id was used up in vain
    assert (dry.created, dry.skipped) == (report.created, report.skipped)
    assert report.created == 1
    assert list(report.skipped) == [
        "account refused by the ledger: IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS"
    ]


def test_rows_older_than_the_newest_transfer_are_refused_in_a_dry_run_too(case: Case) -> None:
    """History goes in once and in order; whoever tries otherwise is told before."""
    case.write(good_rows(3))
    with Ledger.open(case.books) as ledger:
        case.run(ledger)
        case.write(["s1,2001-02-01,1,in,1.00", "s2,2001-03-01,1,in,1.00"])
        with LedgerPreview(case.books) as preview:
            dry = case.run(preview, skip_bad_rows=True)
        report = case.run(ledger, skip_bad_rows=True)
    reason = "refused by the ledger: IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS"
    assert dry.skipped == report.skipped == {reason: 1}


def test_past_balances_answer_from_the_datas_own_dates(case: Case) -> None:
    """The end of a day holds that day's rows and no later ones."""
    case.write(["a,2001-02-01,1,in,5.00", "b,2001-02-02,1,in,7.00", "c,2001-02-02,1,out,1.00"])
    with Ledger.open(case.books) as ledger:
        case.run(ledger)
        day_end = 981_071_999_999_999_999  # 2001-02-01
        (first,) = ledger.at(timestamp=day_end).lookup_accounts([1])
        (second,) = ledger.at(timestamp=day_end + 86_400 * 10**9).lookup_accounts([1])
        assert ledger.at(timestamp=day_end - 86_400 * 10**9).lookup_accounts([1]) == []
    assert (first.credits_posted, first.debits_posted) == (500, 0)
    assert (second.credits_posted, second.debits_posted) == (1200, 100)
