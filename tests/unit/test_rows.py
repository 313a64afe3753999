"""Rows: objects to arrays and back, and refusals that name the row and the field."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import BatchTooLarge, InvalidField
from nostro.journal.model import (
    ACCOUNT,
    AMOUNT_MAX,
    BATCH_EVENTS_MAX,
    TRANSFER,
    Account,
    AccountFlags,
    Transfer,
    TransferFlags,
)
from nostro.journal.rows import (
    account_rows,
    accounts_from_rows,
    columns,
    transfer_rows,
    transfers_from_rows,
    u128_words,
)


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


ACCOUNTS = st.builds(
    Account,
    id=unsigned(128),
    debits_pending=unsigned(128),
    debits_posted=unsigned(128),
    credits_pending=unsigned(128),
    credits_posted=unsigned(128),
    user_data_128=unsigned(128),
    user_data_64=unsigned(64),
    user_data_32=unsigned(32),
    ledger=unsigned(32),
    code=unsigned(16),
    flags=unsigned(16).map(AccountFlags),
    timestamp=unsigned(64),
)
TRANSFERS = st.builds(
    Transfer,
    id=unsigned(128),
    debit_account_id=unsigned(128),
    credit_account_id=unsigned(128),
    amount=unsigned(128),
    pending_id=unsigned(128),
    user_data_128=unsigned(128),
    user_data_64=unsigned(64),
    user_data_32=unsigned(32),
    timeout=unsigned(32),
    ledger=unsigned(32),
    code=unsigned(16),
    flags=unsigned(16).map(TransferFlags),
    timestamp=unsigned(64),
)
WIDTHS = {
    **dict.fromkeys(("id", "user_data_128"), 128),
    "user_data_64": 64,
    "user_data_32": 32,
    "ledger": 32,
    "code": 16,
    "flags": 16,
    "timestamp": 64,
}
TRANSFER_WIDTHS = WIDTHS | {
    **dict.fromkeys(("debit_account_id", "credit_account_id", "amount", "pending_id"), 128),
    "timeout": 32,
}
BALANCES = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
ACCOUNT_WIDTHS = WIDTHS | dict.fromkeys(BALANCES, 128)


@given(st.lists(ACCOUNTS, max_size=3), st.integers(1, 15))
def test_accounts_survive(accounts: list[Account], times: int) -> None:
    """Accounts come back from rows as they were, few or many at a time."""
    accounts *= times
    assert accounts_from_rows(account_rows(accounts)) == accounts


@given(st.lists(TRANSFERS, max_size=3), st.integers(1, 15))
def test_transfers_survive(transfers: list[Transfer], times: int) -> None:
    """Transfers come back from rows as they were, few or many at a time."""
    transfers *= times
    assert transfers_from_rows(transfer_rows(transfers)) == transfers


@given(st.lists(TRANSFERS, min_size=1, max_size=3))
def test_many_rows_are_read_like_few(transfers: list[Transfer]) -> None:
    """Reading by columns and reading row by row give the same numbers."""
    rows = transfer_rows(transfers)
    many = np.tile(rows, 20)
    assert list(columns(many)) == [row for _ in range(20) for row in columns(rows)]


def test_an_object_lies_in_a_row_as_in_tigerbeetles() -> None:
    """Little-endian fields in TigerBeetle's order; a u128 is its low word and its high word."""
    row = transfer_rows([Transfer(id=1 << 64 | 2, amount=5, code=7, flags=TransferFlags.LINKED)])
    assert row["id"].tolist() == [[2, 1]]
    assert row.tobytes() == (
        (1 << 64 | 2).to_bytes(16, "little") + bytes(32) + (5).to_bytes(16, "little")
        + bytes(32) + bytes(8 + 4 + 4 + 4) + b"\x07\x00" + b"\x01\x00" + bytes(8)
    )  # fmt: skip


def test_an_array_is_copied_once() -> None:
    """What becomes of it later changes no request; an empty list is an empty array."""
    rows = np.zeros(2, TRANSFER)
    copied = transfer_rows(rows)
    rows["code"] = 7
    assert copied["code"].tolist() == [0, 0]
    assert transfer_rows(copied) is copied
    assert len(transfer_rows([])) == len(account_rows([])) == 0


@pytest.mark.parametrize(("field", "bits"), TRANSFER_WIDTHS.items())
@pytest.mark.parametrize("what", ["too wide", "negative", "float", "text", "none"])
def test_a_transfers_field_out_of_range_is_named(field: str, bits: int, what: str) -> None:
    """The row, the field, the value and the reason are all in the refusal."""
    value, reason = _wrong(what, bits)
    transfers = [Transfer(id=1), Transfer(id=2), attrs.evolve(Transfer(id=3), **{field: value})]
    with pytest.raises(InvalidField) as caught:
        transfer_rows(transfers)
    error = caught.value
    assert (error.row, error.field, error.value) == (2, field, value)
    assert reason in error.reason
    assert str(error) == f"row 2: {field}={value!r} {error.reason}"


@pytest.mark.parametrize(("field", "bits"), ACCOUNT_WIDTHS.items())
@pytest.mark.parametrize("what", ["too wide", "negative", "float"])
def test_an_accounts_field_out_of_range_is_named(field: str, bits: int, what: str) -> None:
    """Accounts are refused like transfers."""
    value, reason = _wrong(what, bits)
    with pytest.raises(InvalidField, match=reason) as caught:
        account_rows([Account(id=1), attrs.evolve(Account(id=2), **{field: value})])
    assert (caught.value.row, caught.value.field) == (1, field)


def _wrong(what: str, bits: int) -> tuple[Any, str]:
    return {
        "too wide": (2**bits, f"does not fit in {bits} bits"),
        "negative": (-1, "cannot be negative"),
        "float": (1.0, "must be an integer"),
        "text": ("1", "must be an integer"),
        "none": (None, "must be an integer"),
    }[what]


@pytest.mark.parametrize("field", ["id", "amount", "user_data_64", "user_data_32", "code"])
def test_the_largest_value_of_each_width_fits(field: str) -> None:
    """The bound itself is allowed: 2**128 - 1 is an amount like any other."""
    value = 2 ** TRANSFER_WIDTHS[field] - 1
    rows = transfer_rows([attrs.evolve(Transfer(), **{field: value})])
    assert getattr(transfers_from_rows(rows)[0], field) == value


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.uint64])
def test_numpys_integers_are_integers(kind: Any) -> None:  # noqa: ANN401 - a class of numpy's
    """In every field, as Python's are; numpy's floats are not."""
    values = dict.fromkeys(TRANSFER_WIDTHS, 7)
    plain = Transfer(**values)  # type: ignore[arg-type]
    of_numpy = Transfer(**{field: kind(7) for field in values})
    assert transfer_rows([of_numpy, plain]).tobytes() == transfer_rows([plain, plain]).tobytes()
    with pytest.raises(InvalidField, match="amount"):
        transfer_rows([Transfer(**{**values, "amount": np.float64(7)})])  # type: ignore[arg-type]
    with pytest.raises(InvalidField, match="negative"):
        transfer_rows([Transfer(**{**values, "amount": np.int64(-7)})])  # type: ignore[arg-type]


@pytest.mark.parametrize("item", [None, 1, "transfer", {"id": 1}, Account(id=1)])
def test_what_is_no_transfer_is_named(item: object) -> None:
    """Something else in the list is refused by its row, not by a lower-level error."""
    with pytest.raises(InvalidField, match="wrong type") as caught:
        transfer_rows([Transfer(id=1), item])  # type: ignore[list-item]
    assert (caught.value.row, caught.value.field) == (1, "Transfer")


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros(1, ACCOUNT),
        np.zeros((1, 1), TRANSFER),
        np.zeros(1, np.uint64),
        np.zeros(1, TRANSFER.newbyteorder(">")),
    ],
)
def test_an_array_of_another_dtype_or_shape_is_refused(rows: Any) -> None:  # noqa: ANN401  # any
    """Bytes are never taken for rows of another layout, even of the same size."""
    with pytest.raises(InvalidField, match="TRANSFER") as caught:
        transfer_rows(rows)
    assert caught.value.field == "dtype"


def test_more_than_a_request_holds_is_refused() -> None:
    """The bound counts events, in a list as in an array, and is itself allowed."""
    many = [Transfer()] * (BATCH_EVENTS_MAX + 1)
    for batch in (many, np.zeros(BATCH_EVENTS_MAX + 1, TRANSFER)):
        with pytest.raises(BatchTooLarge, match="65,537"):
            transfer_rows(batch)
    assert len(transfer_rows(many[:-1])) == BATCH_EVENTS_MAX


@given(unsigned(128))
def test_a_u128_is_split_into_words(value: int) -> None:
    """Low word first; together they are the value."""
    low, high = u128_words(value)
    assert max(low, high) < 2**64
    assert high << 64 | low == value <= AMOUNT_MAX
