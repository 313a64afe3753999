"""Every kind of refusal, one case a line, and what it leaves behind."""

from __future__ import annotations

from itertools import count
from typing import Final

import attrs
import numpy as np
import pytest

from nostro import (
    Account,
    CreateAccountStatus,
    CreateTransferStatus,
    LedgerClient,
    TransferFlags,
    id,
)
from nostro.journal.rows import account_rows, transfer_rows
from tests.contract.books import Books, fill
from tests.precedence import with_faults
from tests.unit import test_account_status, test_transfer_status

F: Final = TransferFlags
TRANSFER_CASES: Final = [
    (name, number)
    for name, (_, faults) in test_transfer_status.ORDERS.items()
    for number in range(len(faults))
    if name != "imported"  # those suppose a clock that can be set
]
ACCOUNT_CASES: Final = [
    (name, number)
    for name, (_, faults) in test_account_status.ORDERS.items()
    for number in range(len(faults))
    if name != "imported"
]
_fresh_id: Final = count(1_000)


@pytest.fixture(scope="module")
def known(ledger: LedgerClient) -> LedgerClient:
    """What the cases of the tables suppose."""
    fill(ledger)
    ledger.create_transfers([test_transfer_status.TAKEN, test_transfer_status.USED_UP])
    ledger.create_accounts([test_account_status.TAKEN])
    return ledger


@pytest.mark.parametrize(("name", "number"), TRANSFER_CASES)
def test_a_transfer_is_refused_for_what_is_wrong_with_it(
    known: LedgerClient, name: str, number: int
) -> None:
    """The first status of TigerBeetle's that applies is the answer."""
    base, faults = test_transfer_status.ORDERS[name]
    if name == "new":
        base = attrs.evolve(base, id=next(_fresh_id))
    leader = transfer_rows([attrs.evolve(base, id=0)])
    rows = [leader, with_faults(transfer_rows([base]), faults[number])]
    if name == "known":
        rows.append(leader)
    results = known.create_transfers(np.concatenate(rows))
    assert CreateTransferStatus(int(results["status"][1])) is faults[number].status


@pytest.mark.parametrize(("name", "number"), ACCOUNT_CASES)
def test_an_account_is_refused_for_what_is_wrong_with_it(
    known: LedgerClient, name: str, number: int
) -> None:
    """The first status of TigerBeetle's that applies is the answer."""
    base, faults = test_account_status.ORDERS[name]
    if name == "new":
        base = attrs.evolve(base, id=next(_fresh_id))
    leader = account_rows([attrs.evolve(base, id=0)])
    rows = [leader, with_faults(account_rows([base]), faults[number])]
    results = known.create_accounts(np.concatenate(rows))
    assert CreateAccountStatus(int(results["status"][1])) is faults[number].status


def test_what_is_sent_twice_exists_with_its_first_time(ledger: LedgerClient) -> None:
    """A repeated id answers `exists`, not `created`, and says when it was created."""
    books = Books(ledger)
    transfer = books.move(5)
    [first, twin] = ledger.create_transfers([transfer, transfer])
    [again] = ledger.create_transfers([transfer])
    assert [it.status.name for it in (first, twin, again)] == ["CREATED", "EXISTS", "EXISTS"]
    assert first.timestamp == twin.timestamp == again.timestamp
    assert books.balances() == [(0, 5, 0, 0), (0, 0, 0, 5)]


def test_a_refusal_of_the_moment_uses_the_id_up(ledger: LedgerClient) -> None:
    """A transfer that failed for want of an account fails for ever, account or not."""
    books = Books(ledger)
    late = id()
    transfer = books.move(1, credit_account_id=late)
    assert books.post(transfer) == ["CREDIT_ACCOUNT_NOT_FOUND"]
    ledger.create_accounts([Account(id=late, ledger=1, code=1)])
    assert books.post(transfer) == ["ID_ALREADY_FAILED"]


def test_imported_events_keep_their_times(ledger: LedgerClient) -> None:
    """An import has times of its own, which never go back, and is all of a request."""
    books = Books(ledger)
    [newest] = ledger.create_transfers([books.move(1)])
    time = newest.timestamp
    assert books.post(
        books.move(1, flags=F.IMPORTED, timestamp=time + 1),
        books.move(1, flags=F.IMPORTED, timestamp=time),
        books.move(1, flags=F.IMPORTED, timestamp=0),
        books.move(1, flags=F.IMPORTED, timestamp=time + 10**15),
        books.move(1, flags=F.IMPORTED | F.PENDING, timeout=1, timestamp=time + 3),
        books.move(1),
    ) == [
        "CREATED",
        "IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS",
        "IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE",
        "IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE",
        "IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO",
        "IMPORTED_EVENT_EXPECTED",
    ]
