"""Filters that ask for nothing, and filters that are none: answered or refused, one case a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    AMOUNT_MAX,
    BATCH_EVENTS_MAX,
    TIMESTAMP_MAX,
    TRANSFER,
    Account,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    InvalidField,
    Ledger,
    LedgerClosed,
    QueryFilter,
    QueryFilterFlags,
    Transfer,
)
from tests.clocks import HandClock

BOTH: Final = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS
ALL_OF_1: Final = AccountFilter(1, limit=10, flags=BOTH)
ALL: Final = QueryFilter(limit=10)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger", clock=HandClock(1_000)) as ledger:
        ledger.create_accounts(
            [
                Account(id=1, ledger=1, code=1, flags=AccountFlags.HISTORY),
                Account(id=2, ledger=1, code=1),
            ]
        )
        one = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=7)
        ledger.create_transfers([attrs.evolve(one, id=id_) for id_ in (1, 2, 3)])
        yield ledger


def test_sound_filters_find_everything(ledger: Ledger) -> None:
    """What the cases below are changes of."""
    assert len(ledger.get_account_transfers(ALL_OF_1)) == 3
    assert len(ledger.get_account_balances(ALL_OF_1)) == 3
    assert len(ledger.query_transfers(ALL)) == 3
    assert len(ledger.query_accounts(ALL)) == 2


INVALID: Final[list[dict[str, Any]]] = [
    {"limit": 0},
    {"timestamp_min": TIMESTAMP_MAX + 1},
    {"timestamp_max": TIMESTAMP_MAX + 1},
    {"timestamp_min": 2**64 - 1},
    {"timestamp_max": 2**64 - 1},
    {"timestamp_min": 2, "timestamp_max": 1},
]


@pytest.mark.parametrize(
    "change",
    [
        *INVALID,
        {"account_id": 0},
        {"account_id": AMOUNT_MAX},
        {"flags": AccountFilterFlags.NONE},
        {"flags": AccountFilterFlags.REVERSED},
        {"flags": BOTH | AccountFilterFlags(1 << 3)},
        {"flags": BOTH | AccountFilterFlags(1 << 31)},
        {"account_id": 3},
    ],
)
def test_an_account_filter_that_is_invalid_finds_nothing(
    ledger: Ledger, change: dict[str, Any]
) -> None:
    """It is no error, as it is none in TigerBeetle; nor is an account that does not exist."""
    asked = attrs.evolve(ALL_OF_1, **change)
    assert ledger.get_account_transfers(asked) == []
    assert ledger.get_account_balances(asked) == []


@pytest.mark.parametrize(
    "change",
    [*INVALID, {"flags": QueryFilterFlags(1 << 1)}, {"flags": QueryFilterFlags(1 << 31)}],
)
def test_a_query_filter_that_is_invalid_finds_nothing(
    ledger: Ledger, change: dict[str, Any]
) -> None:
    """The same for queries."""
    asked = attrs.evolve(ALL, **change)
    assert ledger.query_transfers(asked) == []
    assert ledger.query_accounts(asked) == []


def test_an_account_without_history_has_no_balances(ledger: Ledger) -> None:
    """Its transfers are found all the same."""
    asked = attrs.evolve(ALL_OF_1, account_id=2)
    assert len(ledger.get_account_transfers(asked)) == 3
    assert ledger.get_account_balances(asked) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user_data_128", 2**128), ("user_data_64", 2**64), ("user_data_32", 2**32),
        ("code", 2**16), ("timestamp_min", 2**64), ("timestamp_max", -1), ("limit", 2**32),
        ("limit", 1.0), ("code", "1"), ("user_data_64", None),
    ],
)  # fmt: skip
def test_a_field_that_does_not_fit_is_refused_by_name(
    ledger: Ledger, field: str, value: object
) -> None:
    """A number that no filter can hold, or what is no number, is an error."""
    for asked, methods in (
        (ALL_OF_1, (ledger.get_account_transfers, ledger.get_account_balances)),
        (ALL, (ledger.query_transfers, ledger.query_accounts)),
    ):
        fields: dict[str, Any] = {field: value}
        changed: Any = attrs.evolve(asked, **fields)
        for method in methods:
            call: Any = method
            with pytest.raises(InvalidField) as caught:
                call(changed)
            assert caught.value.field == field


def test_no_query_has_more_results_than_there_may_be(ledger: Ledger) -> None:
    """A greater limit is answered with 65,536 results."""
    rows = np.zeros(BATCH_EVENTS_MAX, TRANSFER)
    rows["id"][:, 0] = np.arange(10_000, 10_000 + len(rows))
    rows["debit_account_id"][:, 0], rows["credit_account_id"][:, 0] = 1, 2
    rows["ledger"] = rows["code"] = rows["amount"][:, 0] = 1
    ledger.create_transfers(rows)
    assert ledger.transfer_count > BATCH_EVENTS_MAX
    assert len(ledger.query_transfers(QueryFilter(limit=2**32 - 1))) == BATCH_EVENTS_MAX
    of_1 = attrs.evolve(ALL_OF_1, limit=2**32 - 1)
    assert len(ledger.get_account_transfers(of_1)) == BATCH_EVENTS_MAX


def test_a_closed_ledger_is_not_asked(ledger: Ledger) -> None:
    """Not even what would find nothing."""
    ledger.close()
    for call in (
        lambda: ledger.get_account_transfers(ALL_OF_1),
        lambda: ledger.get_account_balances(attrs.evolve(ALL_OF_1, limit=0)),
        lambda: ledger.query_accounts(ALL),
        lambda: ledger.query_transfers(attrs.evolve(ALL, limit=0)),
        ledger.get_change_events,
    ):
        with pytest.raises(LedgerClosed):
            call()


def test_a_filter_of_the_wrong_class_is_refused(ledger: Ledger) -> None:
    """Its flags would mean something else, and its account would not be looked at."""
    methods: dict[Any, Any] = {
        ledger.get_account_transfers: ALL, ledger.get_account_balances: ALL,
        ledger.query_accounts: ALL_OF_1, ledger.query_transfers: ALL_OF_1,
    }  # fmt: skip
    for method, other in methods.items():
        for wrong in (other, None, 1, {"limit": 1}):
            with pytest.raises(InvalidField) as caught:
                method(wrong)
            assert caught.value.field == "filter"


@pytest.mark.parametrize("id_", ["1", None, 1.0, -1, 2**128])
def test_what_is_no_id_is_not_looked_up(ledger: Ledger, id_: Any) -> None:  # noqa: ANN401
    """It is refused with its place, now and in the past."""
    for look_up in (
        ledger.lookup_accounts, ledger.lookup_transfers, ledger.at(position=5).lookup_accounts,
        ledger.at(position=5).lookup_transfers,
    ):  # fmt: skip
        with pytest.raises(InvalidField) as caught:
            look_up([1, id_])
        assert (caught.value.field, caught.value.row) == ("id", 1)
        with pytest.raises(InvalidField, match="must be a list of integers, not"):
            look_up(7)  # type: ignore[arg-type]


def test_what_is_no_list_is_not_created(ledger: Ledger) -> None:
    """Nor anything that has no order, or one object where a list is wanted."""
    one = Transfer(id=9, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=7)
    for wrong in (one, None, {one}, (transfer for transfer in [one]), 7):
        creating: Any = ledger.create_transfers
        with pytest.raises(InvalidField, match=r"must be a list of Transfer objects"):
            creating(wrong)
        creating = ledger.create_accounts
        with pytest.raises(InvalidField, match=r"must be a list of Account objects"):
            creating(wrong)
    assert ledger.position == 5


@pytest.mark.parametrize("when", [{"timestamp": 1.5}, {"timestamp": "1"}, {"position": "1"}])
def test_a_moment_is_an_integer(ledger: Ledger, when: dict[str, Any]) -> None:
    """Seconds as a float would be a moment in 1970."""
    with pytest.raises(InvalidField, match="must be an integer"):
        ledger.at(**when)


def test_a_closed_ledger_is_not_entered(ledger: Ledger) -> None:
    """It would only be found out inside."""
    ledger.close()
    with pytest.raises(LedgerClosed), ledger:
        pass
