"""Pending transfers: posted, voided, in part, too late; balancing and closing; one case a line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    CreateTransferStatus,
    Ledger,
    PendingExpired,
    Reader,
    Transfer,
    TransferFlags,
    audit,
)
from nostro.journal.rows import transfer_rows
from nostro.projections.checkpoints.restore import apply_record
from nostro.projections.state.ledger_state import LedgerState
from tests.clocks import HandClock
from tests.waiting import until

S: Final = CreateTransferStatus
F: Final = TransferFlags
SECOND: Final = 10**9
POST: Final = F.POST_PENDING_TRANSFER
VOID: Final = F.VOID_PENDING_TRANSFER
PENDING: Final = Transfer(
    id=10, debit_account_id=1, credit_account_id=2, amount=100, user_data_128=1, user_data_64=2,
    user_data_32=3, ledger=1, code=7, flags=F.PENDING,
)  # fmt: skip
TIMED: Final = attrs.evolve(PENDING, id=11, timeout=5)
PLAIN: Final = attrs.evolve(PENDING, id=12, flags=F.NONE)


@pytest.fixture
def ledger(tmp_path: Path, clock: HandClock) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger", clock=clock, expiry_seconds=3_600) as opened:
        opened.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2, 3)])
        opened.create_transfers([PENDING, TIMED, PLAIN])
        clock.now = SECOND
        yield opened


def ask(ledger: Ledger, transfer: Transfer) -> CreateTransferStatus:
    [answer] = ledger.create_transfers([transfer])
    return answer.status


def balances(ledger: Ledger, id_: int) -> tuple[int, int, int, int]:
    [found] = ledger.lookup_accounts([id_])
    return (
        found.debits_pending, found.debits_posted, found.credits_pending, found.credits_posted
    )  # fmt: skip


RESOLUTIONS: Final = [
    (Transfer(id=20, pending_id=10, amount=AMOUNT_MAX, flags=POST), S.CREATED),
    (Transfer(id=20, pending_id=10, amount=40, flags=POST), S.CREATED),
    (Transfer(id=20, pending_id=10, amount=0, flags=POST), S.CREATED),
    (Transfer(id=20, pending_id=10, flags=VOID), S.CREATED),
    (Transfer(id=20, pending_id=10, amount=100, flags=VOID), S.CREATED),
    (Transfer(id=20, pending_id=10, flags=POST | VOID), S.FLAGS_ARE_MUTUALLY_EXCLUSIVE),
    (Transfer(id=20, pending_id=10, flags=POST | F.PENDING), S.FLAGS_ARE_MUTUALLY_EXCLUSIVE),
    (Transfer(id=20, pending_id=10, flags=VOID | F.BALANCING_DEBIT), S.FLAGS_ARE_MUTUALLY_EXCLUSIVE),  # noqa: E501
    (Transfer(id=20, pending_id=10, flags=VOID | F.CLOSING_CREDIT), S.FLAGS_ARE_MUTUALLY_EXCLUSIVE),
    (Transfer(id=20, flags=POST), S.PENDING_ID_MUST_NOT_BE_ZERO),
    (Transfer(id=20, pending_id=AMOUNT_MAX, flags=POST), S.PENDING_ID_MUST_NOT_BE_INT_MAX),
    (Transfer(id=20, pending_id=20, flags=POST), S.PENDING_ID_MUST_BE_DIFFERENT),
    (Transfer(id=20, pending_id=10, timeout=1, flags=POST), S.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER),  # noqa: E501
    (Transfer(id=20, pending_id=99, flags=POST), S.PENDING_TRANSFER_NOT_FOUND),
    (Transfer(id=20, pending_id=12, flags=POST), S.PENDING_TRANSFER_NOT_PENDING),
    (Transfer(id=20, pending_id=10, debit_account_id=3, flags=POST), S.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID),  # noqa: E501
    (Transfer(id=20, pending_id=10, credit_account_id=3, flags=POST), S.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID),  # noqa: E501
    (Transfer(id=20, pending_id=10, ledger=2, flags=POST), S.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER),
    (Transfer(id=20, pending_id=10, code=8, flags=POST), S.PENDING_TRANSFER_HAS_DIFFERENT_CODE),
    (Transfer(id=20, pending_id=10, amount=101, flags=POST), S.EXCEEDS_PENDING_TRANSFER_AMOUNT),
    (Transfer(id=20, pending_id=10, amount=101, flags=VOID), S.EXCEEDS_PENDING_TRANSFER_AMOUNT),
    (Transfer(id=20, pending_id=10, amount=99, flags=VOID), S.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(("transfer", "status"), RESOLUTIONS)
def test_a_resolution(ledger: Ledger, transfer: Transfer, status: CreateTransferStatus) -> None:
    """What moves is what was posted; what was reserved is given back; a refusal does neither."""
    assert ask(ledger, transfer) is status
    if status is not S.CREATED:
        assert balances(ledger, 1) == (200, 100, 0, 0)
        return
    [stored] = ledger.lookup_transfers([20])
    posted = stored.amount if transfer.flags & POST else 0
    assert balances(ledger, 1) == (100, 100 + posted, 0, 0)
    assert balances(ledger, 2) == (0, 0, 100, 100 + posted)
    assert stored == attrs.evolve(
        PENDING, id=20, pending_id=10, amount=stored.amount, flags=transfer.flags,
        timestamp=stored.timestamp,
    )  # fmt: skip
    assert ask(ledger, transfer) is S.EXISTS


@pytest.mark.parametrize(
    ("flag", "status"),
    [(POST, S.PENDING_TRANSFER_ALREADY_POSTED), (VOID, S.PENDING_TRANSFER_ALREADY_VOIDED)],
)
def test_what_is_resolved_stays_so_across_a_restart(
    ledger: Ledger, tmp_path: Path, clock: HandClock, flag: TransferFlags,
    status: CreateTransferStatus,
) -> None:  # fmt: skip
    """A second resolution is told how the first one ended, however the state was restored."""
    whole = AMOUNT_MAX if flag is POST else 0
    ledger.create_transfers([Transfer(id=20, pending_id=10, amount=whole, flags=flag)])
    again = Transfer(id=21, pending_id=10, amount=whole, flags=flag)
    assert ask(ledger, again) is status
    ledger.close()
    with Ledger.open(tmp_path / "ledger", clock=clock) as reopened:
        assert ask(reopened, again) is status
    for checkpoint in (tmp_path / "ledger").glob("checkpoints/*"):
        checkpoint.unlink()
    with Ledger.open(tmp_path / "ledger", clock=clock) as replayed:
        assert replayed.report.checkpoint is None
        assert ask(replayed, again) is status


def test_a_pending_transfer_expires(ledger: Ledger, tmp_path: Path, clock: HandClock) -> None:
    """On the ledger's clock, to the nanosecond, as an event of its own."""
    [created] = ledger.lookup_transfers([11])
    clock.now = created.timestamp + 5 * SECOND - 1
    assert balances(ledger, 1) == (200, 100, 0, 0)
    clock.now += 1
    assert balances(ledger, 1) == (100, 100, 0, 0)
    assert ask(ledger, Transfer(id=20, pending_id=11, amount=100, flags=POST)) is (
        S.PENDING_TRANSFER_EXPIRED
    )
    last = list(Reader(tmp_path / "ledger").records())[-1]
    assert list(last.events()) == [PendingExpired(7, clock.now, 11)]
    assert ledger.at(position=6).lookup_accounts([1])[0].debits_pending == 200
    ledger.close()
    assert audit(tmp_path / "ledger").passed


def test_expiry_comes_before_the_request_that_finds_it_due(
    ledger: Ledger, clock: HandClock
) -> None:
    """What is given back is there for the request, and its time comes first."""
    clock.now = 10 * SECOND
    [answer] = ledger.create_transfers([attrs.evolve(PLAIN, id=30)])
    assert answer.timestamp == clock.now + 1
    assert ledger.position == 8


def test_pendings_expire_though_nobody_asks(tmp_path: Path) -> None:
    """The timer lets a follower see what ran out of time."""
    clock = HandClock(1_000)
    with Ledger.open(tmp_path / "ledger", clock=clock, expiry_seconds=0.01) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        ledger.create_transfers([TIMED])
        clock.now = 6 * SECOND
        until(lambda: ledger.position == 4)
        [account] = ledger.lookup_accounts([1])
        assert account.debits_pending == 0


def test_balancing_moves_what_there_is_room_for(ledger: Ledger) -> None:
    """The amount is a bound; the journal holds what moved; asking again within it is no error."""
    bound = attrs.evolve(
        PLAIN, id=40, debit_account_id=2, credit_account_id=1, amount=1_000,
        flags=F.BALANCING_DEBIT,
    )  # fmt: skip
    assert ask(ledger, bound) is S.CREATED
    assert ledger.lookup_transfers([40])[0].amount == 100
    assert ask(ledger, attrs.evolve(bound, amount=100)) is S.EXISTS
    assert ask(ledger, attrs.evolve(bound, amount=99)) is S.EXISTS_WITH_DIFFERENT_AMOUNT


def test_a_closed_account_takes_nothing_until_it_is_reopened(ledger: Ledger) -> None:
    """Closing is a pending transfer; voiding it opens the account again."""
    closing = attrs.evolve(PENDING, id=50, amount=0, flags=F.PENDING | F.CLOSING_DEBIT)
    assert ask(ledger, attrs.evolve(closing, flags=F.CLOSING_DEBIT)) is (
        S.CLOSING_TRANSFER_MUST_BE_PENDING
    )
    assert ask(ledger, closing) is S.CREATED
    assert ledger.lookup_accounts([1])[0].flags & AccountFlags.CLOSED
    assert ask(ledger, attrs.evolve(PLAIN, id=51)) is S.DEBIT_ACCOUNT_ALREADY_CLOSED
    assert ask(ledger, Transfer(id=52, pending_id=10, flags=VOID)) is S.CREATED
    assert ask(ledger, Transfer(id=53, pending_id=50, flags=VOID)) is S.CREATED
    assert not ledger.lookup_accounts([1])[0].flags & AccountFlags.CLOSED
    assert ask(ledger, attrs.evolve(PLAIN, id=54)) is S.CREATED


def test_a_chain_that_fails_takes_a_resolution_back(ledger: Ledger) -> None:
    """Balances, the pending transfer's status and a closed account are as they were."""
    answers = ledger.create_transfers(
        [
            Transfer(id=60, pending_id=10, amount=AMOUNT_MAX, flags=POST | F.LINKED),
            attrs.evolve(PENDING, id=61, flags=F.PENDING | F.CLOSING_CREDIT | F.LINKED),
            attrs.evolve(PLAIN, id=62, amount=5, code=0),
        ]
    )
    assert [answer.status for answer in answers] == [
        S.LINKED_EVENT_FAILED, S.LINKED_EVENT_FAILED, S.CODE_MUST_NOT_BE_ZERO,
    ]  # fmt: skip
    assert balances(ledger, 1) == (200, 100, 0, 0)
    assert not ledger.lookup_accounts([2])[0].flags & AccountFlags.CLOSED
    assert ask(ledger, Transfer(id=63, pending_id=10, amount=1, flags=POST)) is S.CREATED


@pytest.mark.parametrize("seed", range(5))
def test_columns_and_single_rows_fold_alike(tmp_path: Path, seed: int) -> None:
    """A journal of large two-phase records adds up to the same state and history either way."""
    random = np.random.default_rng(seed)
    path = tmp_path / "ledger"
    with Ledger.open(path, clock=HandClock(1_000)) as ledger:
        ledger.create_accounts(
            [
                Account(
                    id=id_, ledger=1, code=1,
                    flags=AccountFlags.HISTORY if id_ < 4 else AccountFlags.NONE,
                )
                for id_ in range(1, 10)
            ]
        )  # fmt: skip
        for first in range(1_000, 5_000, 1_000):
            ledger.create_transfers(transfer_rows(_mixed(random, first)))
        created = ledger.transfer_count
        history = [_history(ledger, id_) for id_ in range(1, 10)]
    live = audit(path)
    assert live.passed
    one_by_one = LedgerState()
    for record in Reader(path).records():
        apply_record(one_by_one, record, applied=[])
    assert one_by_one.sha256() == live.state_sha256
    assert created > 1_000
    assert list(map(bool, history)) == [True] * 3 + [False] * 6
    shutil.rmtree(path / "indexes")
    shutil.rmtree(path / "checkpoints")
    with Ledger.open(path) as again:
        assert [_history(again, id_) for id_ in range(1, 10)] == history


def _history(ledger: Ledger, id_: int) -> list[AccountBalance]:
    both = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS
    return ledger.get_account_balances(AccountFilter(id_, limit=65_536, flags=both))


def _mixed(random: np.random.Generator, first: int) -> list[Transfer]:
    """400 transfers: pending ones, and what posts or voids those before them, some twice."""
    batch = []
    for id_ in range(first, first + 400):
        debit, credit = random.choice(9, 2, replace=False) + 1
        target = int(random.integers(max(1_000, first - 1_000), id_)) if id_ > 1_000 else 1
        amount = int(random.integers(0, 2**62)) << int(random.choice([0, 0, 60]))
        kind = random.choice(["plain", "pending", "pending", "post", "void"])
        if kind in {"plain", "pending"}:
            flags = F.PENDING if kind == "pending" else F.NONE
            batch.append(
                Transfer(
                    id=id_, debit_account_id=int(debit), credit_account_id=int(credit),
                    amount=amount, ledger=1, code=1, flags=flags,
                )
            )  # fmt: skip
        elif kind == "post":
            batch.append(Transfer(id=id_, pending_id=target, amount=AMOUNT_MAX, flags=POST))
        else:
            batch.append(Transfer(id=id_, pending_id=target, flags=VOID))
    return batch


def test_an_event_of_the_batch_may_come_too_late(ledger: Ledger, clock: HandClock) -> None:
    """The first event of a request is in time; the second, a nanosecond later, is not."""
    [created] = ledger.lookup_transfers([11])
    clock.now = created.timestamp + 5 * SECOND - 1
    late = Transfer(id=71, pending_id=11, flags=VOID)
    answers = ledger.create_transfers([attrs.evolve(PLAIN, id=70), late])
    assert [answer.status for answer in answers] == [S.CREATED, S.PENDING_TRANSFER_EXPIRED]
    assert answers[1].timestamp == created.timestamp + 5 * SECOND


def test_looking_back_at_the_present_lets_expire_what_is_due(
    ledger: Ledger, clock: HandClock
) -> None:
    """The ledger as of now does not differ from what a look-up shows."""
    [timed] = ledger.lookup_transfers([11])
    clock.now = timed.timestamp + 6 * SECOND
    past = ledger.at(timestamp=clock.now)
    assert past.lookup_accounts([1, 2]) == ledger.lookup_accounts([1, 2])
    [account] = past.lookup_accounts([1])
    assert account.debits_pending == PENDING.amount
