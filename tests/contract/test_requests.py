"""How one asks: rows and objects, look-ups, queries and their limits, what is no request at all."""

from __future__ import annotations

from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    ACCOUNT,
    AMOUNT_MAX,
    BATCH_EVENTS_MAX,
    CREATE_RESULT,
    TRANSFER,
    Account,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    BatchTooLarge,
    InvalidField,
    LedgerClient,
    QueryFilter,
    QueryFilterFlags,
    id,
)
from nostro.journal.rows import account_rows, transfer_rows
from tests.contract.books import Books

REVERSED: Final = QueryFilterFlags.REVERSED
BOTH: Final = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS
CREATED: Final = 0xFFFFFFFF


def test_rows_are_answered_with_rows(ledger: LedgerClient) -> None:
    """With the statuses and times that objects are answered with."""
    books = Books(ledger)
    accounts = [Account(id=id(), ledger=1, code=1), Account(id=id(), ledger=0, code=1)]
    results = ledger.create_accounts(account_rows(accounts))
    assert results.dtype == CREATE_RESULT
    assert results["status"].tolist() == [CREATED, 13]
    transfers = [books.move(1), books.move(1, pending_id=1)]
    results = ledger.create_transfers(transfer_rows(transfers))
    assert results.dtype == CREATE_RESULT
    assert results["status"].tolist() == [CREATED, 13]
    [found] = ledger.lookup_transfers([transfers[0].id])
    assert found == attrs.evolve(transfers[0], timestamp=int(results["timestamp"][0]))
    [again] = ledger.create_transfers(transfers[:1])
    assert again.timestamp == found.timestamp


def test_a_request_of_nothing_is_answered_with_nothing(ledger: LedgerClient) -> None:
    """In either form."""
    assert ledger.create_accounts([]) == []
    assert ledger.create_transfers([]) == []
    assert len(ledger.create_transfers(np.zeros(0, TRANSFER))) == 0
    assert len(ledger.create_accounts(np.zeros(0, ACCOUNT))) == 0
    assert ledger.lookup_accounts([]) == []
    assert ledger.lookup_transfers([]) == []


def test_what_is_looked_up_comes_in_the_order_asked_for(ledger: LedgerClient) -> None:
    """As often as it is asked for; what is not there is left out."""
    books = Books(ledger)
    first, second = books.ids
    found = ledger.lookup_accounts([second, id(), first, second])
    assert [it.id for it in found] == [second, first, second]
    transfers = [books.move(1), books.move(2)]
    books.post(*transfers)
    wanted = [transfers[1].id, 0, AMOUNT_MAX, transfers[0].id, transfers[1].id]
    assert [it.amount for it in ledger.lookup_transfers(iter(wanted))] == [2, 1, 2]


def test_more_than_a_message_takes_is_one_request(ledger: LedgerClient) -> None:
    """Thousands of events in one call, each answered in its place, chains whole."""
    books = Books(ledger)
    count, base = 9_001, id() >> 20 << 20
    rows = np.repeat(transfer_rows([books.move(1)]), count)
    ids = [base + number for number in range(count)]
    rows["id"] = [(id_ & (2**64 - 1), id_ >> 64) for id_ in ids]
    rows["flags"][np.arange(count) % 7 != 6] = 1  # chains of seven
    rows["flags"][-1] = 0
    rows["code"][5_000] = 0
    statuses = ledger.create_transfers(rows)["status"]
    failed = np.flatnonzero(statuses != CREATED)
    assert failed.tolist() == list(range(4_998, 5_005))
    assert len(ledger.lookup_transfers(ids)) == count - 7
    query = AccountFilter(books.ids[0], limit=BATCH_EVENTS_MAX)
    found = ledger.get_account_transfers(query)
    assert [it.id for it in found] == [it for n, it in enumerate(ids) if n not in failed]
    assert ledger.get_account_transfers(attrs.evolve(query, limit=8_195)) == found[:8_195]
    back = ledger.query_transfers(QueryFilter(code=books.code, limit=8_993, flags=REVERSED))
    assert back == found[:0:-1]


def test_queries_select_by_every_field(ledger: LedgerClient) -> None:
    """By sides, user data, code and time, in both directions, up to the limit."""
    books = Books(ledger, AccountFlags.HISTORY, AccountFlags.NONE)
    here, there = books.ids
    sent = [
        books.move(1, user_data_128=2**70, user_data_64=7),
        books.move(2, user_data_32=9, debit_account_id=there, credit_account_id=here),
        books.move(3, user_data_64=7),
    ]
    assert books.post(*sent) == ["CREATED"] * 3
    times = [it.timestamp for it in ledger.lookup_transfers([each.id for each in sent])]

    def amounts(**fields: Any) -> list[int]:  # noqa: ANN401
        return [it.amount for it in ledger.get_account_transfers(AccountFilter(here, **fields))]

    assert amounts() == [1, 2, 3]
    assert amounts(flags=BOTH | AccountFilterFlags.REVERSED) == [3, 2, 1]
    assert amounts(flags=AccountFilterFlags.DEBITS) == [1, 3]
    assert amounts(flags=AccountFilterFlags.CREDITS) == [2]
    assert amounts(limit=2) == [1, 2]
    assert amounts(user_data_64=7) == [1, 3]
    assert amounts(user_data_128=2**70) == [1]
    assert amounts(user_data_32=9) == [2]
    assert amounts(timestamp_min=times[1]) == [2, 3]
    assert amounts(timestamp_max=times[1]) == [1, 2]
    assert amounts(timestamp_min=times[1], timestamp_max=times[1]) == [2]
    assert amounts(code=books.code + 1) == []
    by_code = QueryFilter(code=books.code, ledger=1)
    assert [it.amount for it in ledger.query_transfers(by_code)] == [1, 2, 3]
    assert [it.id for it in ledger.query_accounts(by_code)] == [here, there]
    backwards = attrs.evolve(by_code, flags=REVERSED, limit=1)
    assert [it.id for it in ledger.query_accounts(backwards)] == [there]
    assert ledger.query_accounts(attrs.evolve(by_code, ledger=3)) == []
    history = ledger.get_account_balances(AccountFilter(here))
    assert [(it.debits_posted, it.credits_posted) for it in history] == [(1, 0), (1, 2), (4, 2)]
    assert [it.timestamp for it in history] == times
    assert ledger.get_account_balances(AccountFilter(there)) == []


@pytest.mark.parametrize(
    "filter",
    [
        AccountFilter(0),
        AccountFilter(AMOUNT_MAX),
        AccountFilter(1, limit=0),
        AccountFilter(1, flags=AccountFilterFlags.NONE),
        AccountFilter(1, flags=AccountFilterFlags.REVERSED),
        AccountFilter(1, flags=BOTH | AccountFilterFlags(8)),
        AccountFilter(1, timestamp_min=2, timestamp_max=1),
        AccountFilter(1, timestamp_min=2**63),
        AccountFilter(404),
    ],
)
def test_an_invalid_filter_finds_nothing(ledger: LedgerClient, filter: AccountFilter) -> None:
    """It is answered, and with nothing."""
    books = Books(ledger)
    assert books.post(books.move(1, debit_account_id=1)) == ["CREATED"]
    assert ledger.get_account_transfers(filter) == []
    assert ledger.get_account_balances(filter) == []


@pytest.mark.parametrize(
    "query",
    [
        QueryFilter(limit=0),
        QueryFilter(flags=QueryFilterFlags(2)),
        QueryFilter(timestamp_max=2**64 - 1),
    ],
)
def test_an_invalid_query_finds_nothing(ledger: LedgerClient, query: QueryFilter) -> None:
    """It is answered, and with nothing."""
    assert ledger.query_accounts(query) == []
    assert ledger.query_transfers(query) == []


def test_what_is_no_request_is_refused_by_name(ledger: LedgerClient) -> None:
    """The same errors with the same fields, and nothing is created."""
    books = Books(ledger)
    good: Any = books.move(1)
    with pytest.raises(InvalidField, match="row 1: amount=-1 cannot be negative"):
        ledger.create_transfers([good, books.move(-1)])
    assert ledger.lookup_transfers([good.id]) == []
    with pytest.raises(InvalidField, match="must be an integer"):
        ledger.create_transfers([attrs.evolve(good, amount=0.5)])
    with pytest.raises(InvalidField, match="does not fit in 16 bits"):
        ledger.create_accounts([Account(id=id(), ledger=1, code=2**16)])
    with pytest.raises(InvalidField, match="must be a list of Transfer objects"):
        ledger.create_transfers(good)
    with pytest.raises(InvalidField, match=r"must be nostro\.TRANSFER"):
        ledger.create_transfers(np.zeros(1, ACCOUNT))
    with pytest.raises(BatchTooLarge):
        ledger.create_transfers(np.zeros(BATCH_EVENTS_MAX + 1, TRANSFER))
    with pytest.raises(InvalidField, match="does not fit in 128 bits"):
        ledger.lookup_accounts([AMOUNT_MAX + 1])
    with pytest.raises(InvalidField, match="cannot be negative"):
        ledger.lookup_transfers([-1])
    with pytest.raises(InvalidField, match="does not fit in 32 bits"):
        ledger.query_transfers(QueryFilter(limit=2**32))
    query: Any = QueryFilter()
    with pytest.raises(InvalidField, match="must be an instance of AccountFilter"):
        ledger.get_account_transfers(query)


def test_numbers_of_numpy_are_numbers(ledger: LedgerClient) -> None:
    """Ids and amounts may come out of an array."""
    books = Books(ledger)
    three: Any = np.int64(3)
    transfer = books.move(three)
    assert books.post(transfer) == ["CREATED"]
    one: Any = np.int64(1)
    assert [it.id for it in ledger.lookup_accounts([one])] == [1]
    assert ledger.is_open
