"""Anything with ``__index__`` counts as an integer: numpy's integers, and a program's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFilter,
    AccountFilterFlags,
    InvalidField,
    Ledger,
    QueryFilter,
    Transfer,
    TransferFlags,
    dropin,
)


class Id:
    """An id of a program's own."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


WAYS = [np.uint64, np.int64, np.int16, Id]


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """With two accounts and two transfers."""
    with Ledger.open(path) as opened:
        opened.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        opened.create_transfers([transfer(1, int), transfer(2, int)])
        yield opened


def transfer(id_: int, of: Callable[[int], Any], amount: Any = 5) -> Transfer:  # noqa: ANN401
    return Transfer(
        id=of(id_), debit_account_id=of(1), credit_account_id=of(2),
        amount=of(amount) if type(amount) is int else amount, user_data_64=of(id_),
        ledger=of(1), code=of(1),
    )  # fmt: skip


@pytest.mark.parametrize("of", WAYS)
def test_events_are_created(ledger: Ledger, of: Callable[[int], Any]) -> None:
    """Every field of accounts and transfers, and the answer holds Python's integers."""
    [account] = ledger.create_accounts([Account(id=of(3), ledger=of(1), code=of(1))])
    [result] = ledger.create_transfers([transfer(3, of)])
    assert (account.status.name, result.status.name) == ("CREATED", "CREATED")
    [found] = ledger.lookup_transfers([3])
    assert found == attrs.evolve(transfer(3, int), timestamp=found.timestamp)
    assert {type(value) for value in attrs.astuple(found)} == {int, TransferFlags}


@pytest.mark.parametrize("of", WAYS)
def test_ids_are_looked_up(ledger: Ledger, of: Callable[[int], Any]) -> None:
    """Accounts and transfers, now and in the past."""
    ids = [of(2), of(1), of(404)]
    assert [it.id for it in ledger.lookup_accounts(ids)] == [2, 1]
    assert [it.id for it in ledger.lookup_transfers(ids)] == [2, 1]
    past = ledger.at(position=of(3))
    assert [it.id for it in past.lookup_transfers(ids)] == [1]
    assert [it.debits_posted for it in past.lookup_accounts([of(1)])] == [5]
    if of is not np.int16:
        then = ledger.at(timestamp=of(ledger.timestamp))
        assert [it.debits_posted for it in then.lookup_accounts([of(1)])] == [10]


@pytest.mark.parametrize("of", WAYS)
def test_filters_select(ledger: Ledger, of: Callable[[int], Any]) -> None:
    """Every kind of query."""
    flags: Any = of(int(AccountFilterFlags.DEBITS | AccountFilterFlags.REVERSED))
    account = AccountFilter(account_id=of(1), limit=of(10), flags=flags, user_data_64=of(0))
    assert [it.id for it in ledger.get_account_transfers(account)] == [2, 1]
    assert ledger.get_account_balances(account) == []
    both: Any = of(0)
    query = QueryFilter(code=of(1), ledger=of(1), limit=of(1), flags=both)
    assert [it.id for it in ledger.query_accounts(query)] == [1]
    assert [it.id for it in ledger.query_transfers(query)] == [1]
    one = QueryFilter(user_data_64=of(2), timestamp_min=of(0))
    assert [it.id for it in ledger.query_transfers(one)] == [2]


@pytest.mark.parametrize("of", WAYS)
def test_change_events_begin_there(ledger: Ledger, of: Callable[[int], Any]) -> None:
    """By position and by timestamp."""
    events = ledger.get_change_events(position_min=of(4), timestamp_min=of(0))
    assert [it.transfer.id for it in events] == [2]


@pytest.mark.parametrize("of", WAYS)
def test_the_dropin_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: Callable[[int], Any]
) -> None:
    """Events, look-ups and filters of a program that was written for TigerBeetle's client."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))
    with dropin.ClientSync(cluster_id=0, replica_addresses="3000") as client:
        accounts = [dropin.Account(id=of(id_), ledger=of(1), code=of(1)) for id_ in (1, 2)]
        client.create_accounts(accounts)
        moved = dropin.Transfer(
            id=of(1), debit_account_id=of(1), credit_account_id=of(2), amount=of(5),
            ledger=of(1), code=of(1),
        )  # fmt: skip
        client.create_transfers([moved])
        assert [it.debits_posted for it in client.lookup_accounts([of(1)])] == [5]
        assert [it.amount for it in client.lookup_transfers([of(1)])] == [5]
        flags: Any = of(3)
        query = dropin.AccountFilter(
            account_id=of(1), user_data_128=0, user_data_64=0, user_data_32=0, code=0,
            timestamp_min=0, timestamp_max=0, limit=of(10), flags=flags,
        )  # fmt: skip
        assert [it.id for it in client.get_account_transfers(query)] == [1]


@pytest.mark.parametrize("amount", [True, False, np.True_, 1.0, "1", None])
def test_an_amount_is_an_integer(ledger: Ledger, amount: object) -> None:
    """A truth value is refused as well: it was a comparison, not an amount."""
    with pytest.raises(InvalidField, match=r"amount.*must be an integer, not ") as caught:
        ledger.create_transfers([transfer(3, int), transfer(4, int, amount)])
    assert (caught.value.field, caught.value.row) == ("amount", 1)
    assert ledger.lookup_transfers([3, 4]) == []


@pytest.mark.parametrize("id_", [1.0, "one", b"1"])
def test_what_has_no_index_is_refused(ledger: Ledger, id_: Any) -> None:  # noqa: ANN401
    """With the field's name, whatever takes it."""
    for call in (
        lambda: ledger.lookup_accounts([id_]),
        lambda: ledger.lookup_transfers([id_]),
        lambda: ledger.get_account_transfers(AccountFilter(account_id=id_)),
        lambda: ledger.query_transfers(QueryFilter(code=id_)),
        lambda: ledger.at(position=id_),
        lambda: list(ledger.get_change_events(position_min=id_)),
    ):
        with pytest.raises(InvalidField, match="must be an integer"):
            call()


@pytest.mark.parametrize(("id_", "reason"), [(-1, "negative"), (AMOUNT_MAX + 1, "128 bits")])
def test_an_id_must_fit(ledger: Ledger, id_: int, reason: str) -> None:
    """Whatever its type."""
    for one in (id_, Id(id_)):
        ids: Any = [one]
        with pytest.raises(InvalidField, match=reason):
            ledger.lookup_transfers(ids)
