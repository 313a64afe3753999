"""A year of a real bank: every row imported, every end-of-day balance checked against the bank.

The data is the PKDD'99 "Berka" set, which is no part of this project. It is looked for beside the
project, in ``shared/data/berka``, or where NOSTRO_BERKA points; without it these tests skip.
"""

from __future__ import annotations

import csv
import datetime
import os
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import Ledger
from nostro.tools.importing.importer import Importer, Options
from nostro.tools.importing.mapping_file import read_mapping
from nostro.tools.importing.report import Outcome, Report
from nostro.tools.importing.rows import RowReader
from nostro.tools.importing.source import Source
from nostro.tools.importing.survey import Survey
from nostro.tools.times import DAY_NS, nanoseconds
from tests.integration.test_importing import interrupted

ROOT: Final = Path(__file__).resolve().parents[2]
MAPPING: Final = ROOT / "docs" / "guides" / "berka" / "berka.toml"
DATA: Final = Path(
    os.environ.get("NOSTRO_BERKA") or ROOT.parent / "shared" / "data" / "berka"
).joinpath("trans.asc")

ROWS: Final = 28_205
CUSTOMERS: Final = 1_139
COUNTERS: Final = 5
ACCOUNT_DAYS: Final = 23_440
ACCOUNT_DAYS_EXACT: Final = 15_290
ROUNDING_UNITS: Final = 6
"""The bank rounded interest when it published it: 0.06 CZK for each interest row, and once more."""

pytestmark = pytest.mark.skipif(
    not DATA.is_file(),
    reason=f"no Berka data: {DATA} is not there (set NOSTRO_BERKA to its folder)",
)


@attrs.frozen
class BankDay:
    """What the bank recorded for one account on one day: the balances after each of its rows."""

    account: int
    day: int
    balances: tuple[int, ...]
    interest_rows: int


def berka_import(ledger: Ledger, *, interrupt_at: int | None = None) -> Report:
    mapping = read_mapping(MAPPING)
    options = Options(dates=mapping.date, batch_rows=1_000)
    with (
        Source(DATA, mapping.file) as source,
        Survey(source.rows(), RowReader(mapping, source.columns), mapping) as survey,
    ):
        return Importer(ledger, options).run(interrupted(iter(survey), interrupt_at))


def bank_days() -> list[BankDay]:
    """Read the bank's own balances, with nothing of the importer."""
    interest: defaultdict[int, int] = defaultdict(int)
    balances: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    interest_by_day: dict[tuple[int, int], int] = {}
    with DATA.open(encoding="latin-1", newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            account = int(row["account_id"])
            date = datetime.datetime.strptime(row["date"] + "+0000", "%y%m%d%z")
            key = (account, nanoseconds(date))
            interest[account] += row["k_symbol"] == "UROK"
            balances[key].append(int(Decimal(row["balance"]).scaleb(2)))
            interest_by_day[key] = interest[account]
    return [
        BankDay(*key, tuple(recorded), interest_by_day[key]) for key, recorded in balances.items()
    ]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("berka") / "books"
    with Ledger.open(path) as ledger:
        report = berka_import(ledger)
    assert report.outcome is Outcome.COMPLETE
    assert (report.created, report.already_there, report.skipped) == (ROWS, 0, {})
    assert report.accounts_created == CUSTOMERS + COUNTERS
    return path


def test_every_end_of_day_balance_is_the_banks_own(books: Path) -> None:
    """23,440 point-in-time queries: all within the bank's rounding, 15,290 to the cent."""
    by_day: defaultdict[int, list[BankDay]] = defaultdict(list)
    for bank_day in bank_days():
        by_day[bank_day.day].append(bank_day)
    checked, exact, beyond = 0, 0, []
    with Ledger.open(books, create=False, read_only=True) as ledger:
        for day, expected in by_day.items():
            past = ledger.at(timestamp=day + DAY_NS - 1)
            accounts = past.lookup_accounts([bank_day.account for bank_day in expected])
            for account, bank_day in zip(accounts, expected, strict=True):
                assert account.id == bank_day.account
                balance = account.credits_posted - account.debits_posted
                off = min(abs(balance - recorded) for recorded in bank_day.balances)
                checked += 1
                exact += off == 0
                if off > ROUNDING_UNITS * (bank_day.interest_rows + 1):
                    beyond.append((bank_day, balance))
    assert beyond == []
    assert (checked, exact) == (ACCOUNT_DAYS, ACCOUNT_DAYS_EXACT)


def test_importing_the_year_again_doubles_nothing(books: Path) -> None:
    """Every row is found there, and not one event is added."""
    with Ledger.open(books, create=False) as ledger:
        before = (ledger.position, ledger.state_sha256())
        report = berka_import(ledger)
        assert (ledger.position, ledger.state_sha256()) == before
    assert (report.created, report.already_there, report.accounts_created) == (0, ROWS, 0)


def test_a_year_that_was_interrupted_midway_is_completed_by_the_same_command(
    books: Path, tmp_path: Path
) -> None:
    """After the interruption and a restart, the ledger is the one of an uninterrupted import."""
    with Ledger.open(tmp_path / "books") as ledger:
        stopped = berka_import(ledger, interrupt_at=14_321)
    with Ledger.open(tmp_path / "books", create=False) as ledger:
        resumed = berka_import(ledger)
        state = ledger.state_sha256()
    with Ledger.open(books, create=False, read_only=True) as ledger:
        assert ledger.state_sha256() == state
    assert (stopped.outcome, stopped.created) == (Outcome.INTERRUPTED, 14_000)
    assert (resumed.already_there, resumed.created) == (14_000, ROWS - 14_000)
    assert stopped.accounts_created + resumed.accounts_created == CUSTOMERS + COUNTERS
