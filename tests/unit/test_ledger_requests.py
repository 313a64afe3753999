"""The ledger's public contract: requests, look-ups, and the clock."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    ACCOUNT,
    AMOUNT_MAX,
    BATCH_EVENTS_MAX,
    CREATE_RESULT,
    TIMESTAMP_MAX,
    TRANSFER,
    Account,
    BatchTooLarge,
    CreateAccountStatus,
    CreateTransferStatus,
    InvalidField,
    Ledger,
    OutOfRange,
    Transfer,
    TransferFlags,
    WrongClock,
    restore,
)
from nostro.journal.rows import account_rows, transfer_rows
from nostro.projections.deciding import timestamps
from tests.clocks import HandClock

S: Final = CreateTransferStatus
ACCOUNTS: Final = [Account(id=id_, ledger=1, code=1) for id_ in (1, 2, 3)]
ONE: Final = Transfer(
    id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1
)  # fmt: skip
YEAR: Final = 365 * 24 * 3600 * 10**9


@pytest.fixture
def ledger(path: Path, clock: HandClock) -> Iterator[Ledger]:
    with Ledger.open(path, clock=clock) as opened:
        opened.create_accounts(ACCOUNTS)
        yield opened


def test_lookups_keep_order_and_repetition(ledger: Ledger) -> None:
    """What is found comes in the order asked for and as often; what is missing is left out."""
    ledger.create_transfers([ONE, attrs.evolve(ONE, id=2)])
    ids = [2, 9, 1, 2, 0, AMOUNT_MAX]
    assert [account.id for account in ledger.lookup_accounts(ids)] == [2, 1, 2]
    assert [transfer.id for transfer in ledger.lookup_transfers(ids)] == [2, 1, 2]
    assert ledger.lookup_accounts([]) == []
    assert ledger.lookup_transfers(iter([])) == []


def test_rows_go_in_and_rows_come_out(ledger: Ledger) -> None:
    """A request in rows is answered in rows, with the same content as one in objects."""
    new = [attrs.evolve(ACCOUNTS[0], id=7), ACCOUNTS[0]]
    results = ledger.create_accounts(account_rows(new))
    assert results.dtype == CREATE_RESULT
    assert results.tolist() == [
        (1003, CreateAccountStatus.CREATED, 0), (1000, CreateAccountStatus.EXISTS, 0),
    ]  # fmt: skip
    moved = transfer_rows([ONE, attrs.evolve(ONE, id=0)])
    untouched = moved.copy()
    assert ledger.create_transfers(moved)["status"].tolist() == [S.CREATED, S.ID_MUST_NOT_BE_ZERO]
    assert moved.tobytes() == untouched.tobytes(), "the caller's rows are the caller's"
    rows = ledger.accounts()
    assert rows.dtype == ACCOUNT
    assert rows["id"][:, 0].tolist() == [1, 2, 3, 7]
    rows["code"] = 9
    assert ledger.lookup_accounts([1])[0].code == 1, "and what is given out is a copy"


def test_an_empty_request_has_an_empty_answer(ledger: Ledger) -> None:
    """Nothing asked, nothing answered, nothing written."""
    assert ledger.create_accounts([]) == []
    assert ledger.create_transfers([]) == []
    assert ledger.create_transfers(np.zeros(0, TRANSFER)).shape == (0,)
    assert ledger.position == 3


def test_the_largest_request_is_taken_and_one_more_is_not(ledger: Ledger) -> None:
    """A batch of the documented size goes through whole; a larger one is refused whole."""
    rows = np.zeros(BATCH_EVENTS_MAX + 1, TRANSFER)
    rows["id"][:, 0] = np.arange(1, len(rows) + 1)
    rows["debit_account_id"][:, 0], rows["credit_account_id"][:, 0] = 1, 2
    rows["amount"][:, 0] = rows["ledger"] = rows["code"] = 1
    with pytest.raises(BatchTooLarge) as caught:
        ledger.create_transfers(rows)
    assert (caught.value.count, caught.value.count_max) == (len(rows), BATCH_EVENTS_MAX)
    with pytest.raises(BatchTooLarge):
        ledger.create_accounts(ACCOUNTS * 22_000)
    assert ledger.position == 3
    assert (ledger.create_transfers(rows[:-1])["status"] == S.CREATED).all()
    assert ledger.lookup_accounts([1])[0].debits_posted == BATCH_EVENTS_MAX


def _one(**fields: object) -> Transfer:
    return attrs.evolve(ONE, **fields)  # type: ignore[arg-type]


WRONG: Final[dict[str, tuple[Any, str, int | None]]] = {
    "a float": ([ONE, _one(amount=1.5)], "amount", 1),
    "a text": ([_one(amount="1")], "amount", 0),
    "below zero": ([_one(amount=-1)], "amount", 0),
    "beyond 128 bits": ([_one(amount=2**128)], "amount", 0),
    "nothing": ([_one(id=None)], "id", 0),
    "beyond 32 bits": ([_one(ledger=2**32)], "ledger", 0),
    "beyond 16 bits": ([_one(code=2**16)], "code", 0),
    "beyond 64 bits": ([_one(timestamp=2**64)], "timestamp", 0),
    "an account": ([ONE, ACCOUNTS[0]], "Transfer", 1),
    "a number": ([1], "Transfer", 0),
    "rows of accounts": (np.zeros(1, ACCOUNT), "dtype", None),
    "rows in a table": (np.zeros((1, 1), TRANSFER), "dtype", None),
    "an array of floats": (np.zeros(1), "dtype", None),
}


@pytest.mark.parametrize(("asked", "field", "row"), WRONG.values(), ids=WRONG.keys())
def test_a_request_of_the_wrong_type_is_refused_by_name(
    ledger: Ledger, asked: list[Transfer], field: str, row: int | None
) -> None:
    """What is no transfer is refused with row and field before anything of the batch happens."""
    with pytest.raises(InvalidField) as caught:
        ledger.create_transfers(asked)
    assert (caught.value.field, caught.value.row) == (field, row)
    assert ledger.position == 3


# --- the clock ---


def test_order_survives_any_clock(path: Path, clock: HandClock, ledger: Ledger) -> None:
    """Timestamps rise strictly while the clock jumps years either way, and across reopening."""
    times = []
    ledger.close()
    with Ledger.open(path, clock=clock, clock_lead_seconds_max=math.inf) as any_clock:
        for id_, now in enumerate([2_000, 10 * YEAR, 0, -YEAR, 10 * YEAR, 5, 20 * YEAR, 1], 1):
            clock.now = now
            times.append(any_clock.create_transfers([attrs.evolve(ONE, id=id_)])[0].timestamp)
    with Ledger.open(path, clock=clock, clock_lead_seconds_max=math.inf) as again:
        times.append(again.create_transfers([attrs.evolve(ONE, id=99)])[0].timestamp)
        assert [t.timestamp for t in again.lookup_transfers([1, 4, 99])] == [
            times[0], times[3], times[-1],
        ]  # fmt: skip
    assert times == sorted(set(times))
    assert times[1] == 10 * YEAR
    assert times[2] == times[1] + 1


def test_a_clock_far_behind_the_newest_event_is_refused(
    path: Path, clock: HandClock, ledger: Ledger
) -> None:
    """It, or the one that recorded that event, is wrong. Up to a minute is no reason to stop."""
    clock.now = YEAR
    assert ledger.create_transfers([ONE])[0].timestamp == YEAR
    clock.now = YEAR - 60 * 10**9
    assert ledger.create_transfers([attrs.evolve(ONE, id=2)])[0].timestamp == YEAR + 1
    clock.now -= 1
    position = ledger.position
    for _ in range(2):
        with pytest.raises(WrongClock, match=r"1971-01-01T00:00:00Z.*restore.*--until-time"):
            ledger.create_transfers([attrs.evolve(ONE, id=3)])
        with pytest.raises(WrongClock):
            ledger.create_accounts([Account(id=77, ledger=1, code=1)])
        with pytest.raises(WrongClock):
            ledger.check_writable()
    assert ledger.position == position
    assert len(ledger.lookup_transfers([1, 2, 3])) == 2
    clock.now = YEAR
    ledger.check_writable()
    assert ledger.create_transfers([attrs.evolve(ONE, id=3)])[0].status.name == "CREATED"


def test_reading_goes_on_while_the_clock_is_wrong(clock: HandClock, ledger: Ledger) -> None:
    """What is durable is shown, though pendings cannot expire."""
    pending = attrs.evolve(ONE, id=7, flags=TransferFlags.PENDING, timeout=1)
    ledger.create_transfers([pending])
    clock.now = YEAR
    ledger.create_transfers([ONE])
    ledger.create_transfers([attrs.evolve(pending, id=8)])
    clock.now = 5
    assert ledger.lookup_accounts([1])[0].debits_pending == ONE.amount
    clock.now = YEAR + 10**10
    assert ledger.lookup_accounts([1])[0].debits_pending == 0


def test_a_ledger_with_events_of_a_wrong_clock_has_ways_out(
    path: Path, clock: HandClock, ledger: Ledger, tmp_path: Path
) -> None:
    """Leave those events out, or keep them and let the new ones follow."""
    ledger.create_transfers([ONE])
    clock.now = 30 * YEAR
    ledger.create_transfers([attrs.evolve(ONE, id=2)])
    ledger.close()
    clock.now = 10**9
    with Ledger.open(path, clock=clock) as stuck, pytest.raises(WrongClock):
        stuck.create_transfers([attrs.evolve(ONE, id=3)])
    restore(path, tmp_path / "without", until_timestamp=clock.now)
    with Ledger.open(tmp_path / "without") as without:
        assert [found.id for found in without.lookup_transfers([1, 2])] == [1]
        assert without.create_transfers([attrs.evolve(ONE, id=3)])[0].status.name == "CREATED"
    with Ledger.open(path, clock=clock, clock_lead_seconds_max=40 * YEAR / 10**9) as kept:
        assert kept.create_transfers([attrs.evolve(ONE, id=3)])[0].timestamp == 30 * YEAR + 1


@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_a_bound_that_is_none_is_refused(path: Path, seconds: float) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidField, match="clock_lead_seconds_max"):
        Ledger.open(path, clock_lead_seconds_max=seconds)


@pytest.mark.parametrize("now", [231 * YEAR, TIMESTAMP_MAX - 2, 2**64])
def test_a_clock_past_2200_is_refused(clock: HandClock, ledger: Ledger, now: int) -> None:
    """So no event can use up the time that there is, and the ledger goes on once it is right."""
    clock.now = now
    with pytest.raises(WrongClock, match="set it right"):
        ledger.create_transfers([ONE])
    clock.now = 2_000_000
    assert ledger.create_transfers([ONE])[0].status.name == "CREATED"


def test_time_comes_to_an_end(
    clock: HandClock, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that would need a timestamp beyond the last is refused, and nothing changes."""
    # private: no clock goes so far otherwise
    monkeypatch.setattr(timestamps, "CLOCK_MAX", TIMESTAMP_MAX)
    clock.now = TIMESTAMP_MAX - 2
    with pytest.raises(OutOfRange, match="timestamp"):
        ledger.create_transfers([attrs.evolve(ONE, id=id_) for id_ in (1, 2, 3)])
    assert ledger.position == 3
    assert ledger.create_transfers([ONE])[0].timestamp == TIMESTAMP_MAX - 2
