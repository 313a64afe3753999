"""What depends on the moment: limits, overflow, closed accounts, imported times, used-up ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import (
    AMOUNT_MAX,
    REFUSED_FOR_GOOD,
    Account,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    Ledger,
    Reader,
    Transfer,
    TransferFlags,
    TransferRefused,
)
from tests.clocks import HandClock

S: Final = CreateTransferStatus
CREATED: Final = S.CREATED
NOW: Final = 1_000

BANK, WALLET, LIABILITY, CLOSED = 1, 2, 3, 4
ACCOUNTS: Final = [
    Account(id=BANK, ledger=1, code=1),
    Account(
        id=WALLET, ledger=1, code=1, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
    ),
    Account(
        id=LIABILITY, ledger=1, code=1, flags=AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS
    ),
    Account(id=CLOSED, ledger=1, code=1, flags=AccountFlags.CLOSED),
]  # fmt: skip


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@pytest.fixture
def ledger(tmp_path: Path, clock: HandClock) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger", clock=clock) as opened:
        opened.create_accounts(ACCOUNTS)
        yield opened


def move(id_: int, debit: int, credit: int, amount: int) -> Transfer:
    return Transfer(
        id=id_, debit_account_id=debit, credit_account_id=credit, amount=amount, ledger=1, code=1
    )


def statuses(ledger: Ledger, *transfers: Transfer) -> list[CreateTransferStatus]:
    return [result.status for result in ledger.create_transfers(transfers)]


MOVES: Final = [
    # one request of (debit, credit, amount) after another, and the last one's status
    ([(WALLET, BANK, 0)], CREATED),
    ([(WALLET, BANK, 1)], S.EXCEEDS_CREDITS),
    ([(BANK, WALLET, 10), (WALLET, BANK, 10)], CREATED),
    ([(BANK, WALLET, 10), (WALLET, BANK, 11)], S.EXCEEDS_CREDITS),
    ([(BANK, WALLET, 10), (WALLET, BANK, 4), (WALLET, BANK, 7)], S.EXCEEDS_CREDITS),
    ([(BANK, WALLET, 10), (WALLET, BANK, 4), (WALLET, BANK, 6)], CREATED),
    ([(BANK, WALLET, 2**64), (WALLET, BANK, 2**64 + 1)], S.EXCEEDS_CREDITS),
    ([(BANK, WALLET, 2**64), (WALLET, BANK, 2**64)], CREATED),
    ([(BANK, LIABILITY, 0)], CREATED),
    ([(BANK, LIABILITY, 1)], S.EXCEEDS_DEBITS),
    ([(LIABILITY, BANK, 10), (BANK, LIABILITY, 10)], CREATED),
    ([(LIABILITY, BANK, 10), (BANK, LIABILITY, 11)], S.EXCEEDS_DEBITS),
    ([(BANK, WALLET, 5), (WALLET, LIABILITY, 5)], S.EXCEEDS_DEBITS),
    ([(BANK, WALLET, AMOUNT_MAX)], CREATED),
    ([(BANK, WALLET, AMOUNT_MAX), (BANK, WALLET, 0)], CREATED),
    ([(BANK, WALLET, AMOUNT_MAX), (BANK, WALLET, 1)], S.OVERFLOWS_DEBITS_POSTED),
    ([(BANK, WALLET, AMOUNT_MAX - 1), (BANK, WALLET, 1)], CREATED),
    ([(BANK, WALLET, AMOUNT_MAX - 1), (BANK, WALLET, 2)], S.OVERFLOWS_DEBITS_POSTED),
    ([(BANK, WALLET, AMOUNT_MAX), (WALLET, BANK, AMOUNT_MAX)], CREATED),
    ([(BANK, WALLET, AMOUNT_MAX), (LIABILITY, WALLET, 1)], S.OVERFLOWS_CREDITS_POSTED),
    ([(BANK, WALLET, 5), (CLOSED, BANK, 0)], S.DEBIT_ACCOUNT_ALREADY_CLOSED),
    ([(BANK, WALLET, 5), (WALLET, CLOSED, 0)], S.CREDIT_ACCOUNT_ALREADY_CLOSED),
]  # fmt: skip


@pytest.mark.parametrize("together", [False, True], ids=["apart", "together"])
@pytest.mark.parametrize(("moves", "last"), MOVES)
def test_limits_and_overflow_are_exact_to_the_unit(
    ledger: Ledger,
    moves: list[tuple[int, int, int]],
    last: CreateTransferStatus,
    together: bool,
) -> None:
    """The last unit that fits is taken, the next is refused, in one request or over several."""
    transfers = [move(id_, *each) for id_, each in enumerate(moves, 1)]
    if together:
        answers = statuses(ledger, *transfers)
    else:
        answers = [status for transfer in transfers for status in statuses(ledger, transfer)]
    assert answers == [CREATED] * (len(moves) - 1) + [last]


def test_a_balance_crosses_the_64_bit_word_without_loss(ledger: Ledger) -> None:
    """Amounts around 2**64 add up exactly, on both sides."""
    amounts = [2**64 - 1, 1, 2**64 - 1, 2**127, 3]
    for id_, amount in enumerate(amounts, 1):
        assert statuses(ledger, move(id_, BANK, WALLET, amount)) == [CREATED]
    bank, wallet = ledger.lookup_accounts([BANK, WALLET])
    assert bank.debits_posted == wallet.credits_posted == sum(amounts)


TRANSIENT: Final = [
    (move(7, 404, BANK, 1), S.DEBIT_ACCOUNT_NOT_FOUND),
    (move(7, BANK, 404, 1), S.CREDIT_ACCOUNT_NOT_FOUND),
    (move(7, CLOSED, BANK, 1), S.DEBIT_ACCOUNT_ALREADY_CLOSED),
    (move(7, BANK, CLOSED, 1), S.CREDIT_ACCOUNT_ALREADY_CLOSED),
    (move(7, WALLET, BANK, 1), S.EXCEEDS_CREDITS),
    (move(7, BANK, LIABILITY, 1), S.EXCEEDS_DEBITS),
]


@pytest.mark.parametrize(("transfer", "status"), TRANSIENT, ids=[s.name for _, s in TRANSIENT])
def test_a_refusal_of_the_moment_uses_the_id_up_for_ever(
    tmp_path: Path, ledger: Ledger, transfer: Transfer, status: CreateTransferStatus
) -> None:
    """The retry is refused in the same request, in the next, after reopening and after a replay.

    The journal says why.
    """
    sound = move(7, BANK, WALLET, 1)
    assert statuses(ledger, transfer, transfer, sound) == [status] + [S.ID_ALREADY_FAILED] * 2
    assert statuses(ledger, sound) == [S.ID_ALREADY_FAILED]
    ledger.close()
    for file in [None, *(tmp_path / "ledger").glob("*/*.checkpoint")]:
        if file is not None:
            file.unlink()
        with Ledger.open(tmp_path / "ledger") as reopened:
            assert statuses(reopened, sound) == [S.ID_ALREADY_FAILED]
            assert reopened.lookup_transfers([7]) == []
            assert reopened.transfer_count == 0
    *_, last = Reader(tmp_path / "ledger").records()
    (event,) = last.events()
    assert isinstance(event, TransferRefused)
    assert (event.status, event.transfer) == (
        status, attrs.evolve(transfer, timestamp=NOW + len(ACCOUNTS)),
    )  # fmt: skip


def test_the_table_of_refusals_of_the_moment_is_complete() -> None:
    """Every status that uses an id up is tried above, save the one that needs two phases."""
    assert {status for _, status in TRANSIENT} == REFUSED_FOR_GOOD - {S.PENDING_TRANSFER_NOT_FOUND}


@pytest.mark.parametrize(
    "refused",
    [
        move(7, BANK, BANK, 1),
        attrs.evolve(move(7, BANK, WALLET, 1), ledger=0),
        attrs.evolve(move(7, BANK, WALLET, 1), ledger=2),
        attrs.evolve(move(7, BANK, WALLET, 1), timestamp=3),
        attrs.evolve(move(7, BANK, WALLET, 1), flags=TransferFlags.LINKED),
    ],
)
def test_a_refusal_for_a_mistake_leaves_the_id_free(ledger: Ledger, refused: Transfer) -> None:
    """What was wrong with the request itself may be corrected and sent again."""
    position = ledger.position
    assert statuses(ledger, refused) != [CREATED]
    assert ledger.position == position
    assert statuses(ledger, move(7, BANK, WALLET, 1)) == [CREATED]


def imported(transfer: Transfer, timestamp: int) -> Transfer:
    return attrs.evolve(transfer, flags=TransferFlags.IMPORTED, timestamp=timestamp)


def test_imported_times_are_kept_and_never_go_back(ledger: Ledger, clock: HandClock) -> None:
    """An imported transfer has its own time, later than its accounts and every transfer before."""
    clock.now = 9_000
    first, later = move(1, BANK, WALLET, 1), move(2, BANK, WALLET, 1)
    assert ledger.create_transfers([imported(first, 5_000)])[0].timestamp == 5_000
    assert statuses(ledger, imported(later, 5_000)) == [S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS]
    assert statuses(ledger, imported(first, 4_000)) == [S.EXISTS]  # the original's time is kept
    assert statuses(ledger, first) == [S.EXISTS_WITH_DIFFERENT_FLAGS]
    assert statuses(ledger, imported(later, 5_001)) == [CREATED]
    assert [t.timestamp for t in ledger.lookup_transfers([1, 2])] == [5_000, 5_001]


def test_no_two_events_share_a_time(tmp_path: Path) -> None:
    """An account cannot be imported at a transfer's time, nor a transfer at an account's."""
    old = Account(id=10, ledger=1, code=1, flags=AccountFlags.IMPORTED, timestamp=100)
    with Ledger.open(tmp_path / "ledger", clock=HandClock(NOW)) as ledger:
        ledger.create_accounts([old, attrs.evolve(old, id=11, timestamp=110)])
        ledger.create_transfers([imported(move(1, 10, 11, 1), 150)])
        at_a_transfer = attrs.evolve(old, id=12, timestamp=150)
        after_it = attrs.evolve(old, id=12, timestamp=160)
        answers = ledger.create_accounts([at_a_transfer, after_it])
        assert [answer.status for answer in answers] == [
            CreateAccountStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
            CreateAccountStatus.CREATED,
        ]
        at_an_account = imported(move(2, 10, 11, 1), 160)
        assert statuses(ledger, at_an_account, imported(at_an_account, 161)) == [
            S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS, CREATED,
        ]  # fmt: skip


def test_what_is_not_imported_follows_whatever_was(ledger: Ledger, clock: HandClock) -> None:
    """A later transfer is later than the newest import, even if the clock has gone back since."""
    clock.now = 9_000
    assert statuses(ledger, imported(move(1, BANK, WALLET, 1), 8_999)) == [CREATED]
    clock.now = 10
    assert ledger.create_transfers([move(2, BANK, WALLET, 1)])[0].timestamp > 8_999


def test_the_first_reason_of_a_refusal_for_good_stays(tmp_path: Path) -> None:
    """Sent again the id only answers ID_ALREADY_FAILED, also after a restart."""
    batch = [
        Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1),
        Transfer(id=2, debit_account_id=404, credit_account_id=2, amount=7, ledger=1, code=1),
        Transfer(id=3, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=0),
        Transfer(id=4, debit_account_id=1, credit_account_id=405, amount=1, ledger=1, code=1),
    ]
    with Ledger.open(tmp_path / "books", clock=HandClock(1_000)) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        first = ledger.create_transfers(batch)
        statuses = [result.status for result in ledger.create_transfers(batch)]
        assert statuses[1] is statuses[3] is S.ID_ALREADY_FAILED
        found = ledger.lookup_refusals([4, 1, 2, 3, 99])
        assert [(it.status, it.timestamp) for it in found] == [
            (first[3].status, first[3].timestamp),
            (first[1].status, first[1].timestamp),
        ]
        assert found[1].transfer == attrs.evolve(batch[1], timestamp=first[1].timestamp)
    with Ledger.open(tmp_path / "books", read_only=True) as again:
        assert again.lookup_refusals([4, 2]) == found
