"""Holding rows of the journal against rows of a cluster."""

from __future__ import annotations

from typing import Any, Final

import attrs
import pytest

from nostro import Account, AccountFlags, Transfer, TransferFlags
from nostro.journal.format.codec import RecordKind
from nostro.journal.rows import account_rows, transfer_rows
from nostro.projections.tigerbeetle.errors import Difference, RowsDiffer
from nostro.projections.tigerbeetle.rows.compare import differences, ids_of, require_equal

ACCOUNT: Final = Account(
    id=2**127 + 5, ledger=1, code=2, user_data_128=2**100, user_data_64=3, user_data_32=4,
    flags=AccountFlags.HISTORY, timestamp=9,
)  # fmt: skip
TRANSFER: Final = Transfer(
    id=2**127 + 5, debit_account_id=1, credit_account_id=2, amount=2**64, pending_id=2**65,
    user_data_128=2**100, user_data_64=3, user_data_32=4, timeout=0, ledger=1, code=2,
    flags=TransferFlags.PENDING, timestamp=9,
)  # fmt: skip
VOID: Final = Transfer(
    id=8, pending_id=7, flags=TransferFlags.VOID_PENDING_TRANSFER | TransferFlags.IMPORTED,
    timestamp=9,
)  # fmt: skip
FILLED: Final = attrs.evolve(
    VOID, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=2, user_data_128=3,
    user_data_64=4, user_data_32=5,
)  # fmt: skip


def accounts_differ(ours: Account, theirs: Account, *, balances: bool = False) -> list[Difference]:
    return list(
        differences(
            RecordKind.ACCOUNTS, account_rows([ours]), account_rows([theirs]), balances=balances
        )
    )


def transfers_differ(ours: Transfer, theirs: Transfer) -> list[Difference]:
    return list(differences(RecordKind.TRANSFERS, transfer_rows([ours]), transfer_rows([theirs])))


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": 10}, {"ledger": 2}, {"code": 3}, {"flags": AccountFlags.NONE},
        {"user_data_128": 2**100 + 2**64}, {"user_data_64": 4}, {"user_data_32": 5},
    ],
)  # fmt: skip
def test_every_field_of_an_account_counts(changes: dict[str, Any]) -> None:
    theirs = attrs.evolve(ACCOUNT, **changes)
    [(field, value)] = changes.items()
    assert accounts_differ(ACCOUNT, ACCOUNT) == []
    assert accounts_differ(ACCOUNT, theirs) == [
        Difference("account", ACCOUNT.id, field, getattr(ACCOUNT, field), value)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"debits_pending": 1}, {"debits_posted": 2**64}, {"credits_pending": 1},
        {"credits_posted": 1}, {"flags": AccountFlags.HISTORY | AccountFlags.CLOSED},
    ],
)  # fmt: skip
def test_what_transfers_do_to_an_account_counts_when_asked_for(changes: dict[str, Any]) -> None:
    theirs = attrs.evolve(ACCOUNT, **changes)
    assert accounts_differ(ACCOUNT, theirs) == []
    [found] = accounts_differ(ACCOUNT, theirs, balances=True)
    assert found.field in changes


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Transfer)][1:])
def test_every_field_of_a_transfer_counts(field: str) -> None:
    """Of 128 bits as well: in their upper half, too."""
    value = getattr(TRANSFER, field)
    wide = field.endswith(("_id", "128")) or field == "amount"
    change = value + (2**64 if wide else 1)
    theirs = attrs.evolve(
        TRANSFER, **{field: TransferFlags(change) if field == "flags" else change}
    )
    assert transfers_differ(TRANSFER, TRANSFER) == []
    [found] = transfers_differ(TRANSFER, theirs)
    assert (found.field, found.journal, found.cluster) == (field, value, change)


def test_an_expiry_says_only_what_it_voids() -> None:
    """The cluster fills in the rest from the pending transfer; its own fields count."""
    assert transfers_differ(VOID, FILLED) == []
    for changes in ({"timestamp": 10}, {"pending_id": 9}, {"flags": VOID.flags | 1}):
        assert transfers_differ(VOID, attrs.evolve(FILLED, **changes)) != []
    # One that the ledger's user asked for says all of it, and all of it counts.
    assert transfers_differ(FILLED, attrs.evolve(FILLED, amount=6)) != []


def test_a_difference_is_told_with_both_values() -> None:
    rows = [transfer_rows([TRANSFER, VOID]), transfer_rows([attrs.evolve(TRANSFER, code=9), VOID])]
    with pytest.raises(RowsDiffer) as caught:
        require_equal(RecordKind.TRANSFERS, *rows, position=12_345)
    assert str(caught.value) == (
        f"they differ at position 12,345 (journal / cluster): transfer {TRANSFER.id}: code: 2 / 9"
    )
    require_equal(RecordKind.TRANSFERS, rows[0], rows[0], position=1)


def test_ids_are_of_128_bits() -> None:
    assert ids_of(account_rows([ACCOUNT])) == [2**127 + 5]
    assert ids_of(account_rows([])) == []
