"""Refusals as exceptions: which one for which status, and of which event."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFailed,
    AccountFlags,
    AccountNotFound,
    AsyncLedger,
    ChainNotChecked,
    CreateAccountStatus,
    CreateTransferStatus,
    InsufficientBalance,
    InvalidField,
    Ledger,
    Refused,
    Transfer,
    TransferFailed,
    TransferFlags,
    raise_for_status,
)
from nostro.journal.rows import account_rows, transfer_rows

S: Final = CreateTransferStatus
FREE, POOR, OWED = 1, 2, 3
ACCOUNTS: Final = [
    Account(id=FREE, ledger=1, code=1),
    Account(id=POOR, ledger=1, code=1, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS),
    Account(id=OWED, ledger=1, code=1, flags=AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS),
]


def move(id_: int, debit: int, credit: int, **fields: Any) -> Transfer:  # noqa: ANN401
    given = {"amount": 7, "ledger": 1, "code": 1, **fields}
    return Transfer(id=id_, debit_account_id=debit, credit_account_id=credit, **given)


GOOD: Final = move(10, FREE, POOR, amount=0)


@pytest.mark.parametrize("as_rows", [False, True])
@pytest.mark.parametrize(
    ("wrong", "expected", "fields"),
    [
        (move(11, POOR, FREE), InsufficientBalance,
         {"status": S.EXCEEDS_CREDITS, "account_id": POOR, "amount": 7}),
        (move(11, FREE, OWED), InsufficientBalance,
         {"status": S.EXCEEDS_DEBITS, "account_id": OWED, "amount": 7}),
        (move(11, 404, FREE), AccountNotFound,
         {"status": S.DEBIT_ACCOUNT_NOT_FOUND, "account_id": 404}),
        (move(11, FREE, 405), AccountNotFound,
         {"status": S.CREDIT_ACCOUNT_NOT_FOUND, "account_id": 405}),
        (move(11, FREE, POOR, code=0), TransferFailed, {"status": S.CODE_MUST_NOT_BE_ZERO}),
        (GOOD, TransferFailed, {"status": S.EXISTS, "id": 10}),
    ],
)  # fmt: skip
def test_each_kind_of_refusal_has_its_exception(
    tmp_path: Path, wrong: Transfer, expected: type[Refused], fields: dict[str, Any], *,
    as_rows: bool,
) -> None:  # fmt: skip
    """With the index, the status and the id, whatever the request and its answer are made of."""
    events: Any = [GOOD, wrong]
    with Ledger.open(tmp_path) as ledger:
        created = ledger.create_accounts(ACCOUNTS)
        raise_for_status(created, ACCOUNTS)
        results: Any = ledger.create_transfers(transfer_rows(events) if as_rows else events)
    with pytest.raises(Refused) as caught:
        raise_for_status(results, transfer_rows(events) if as_rows else events)
    assert type(caught.value) is expected
    found = {"index": 1, "id": 11, "refused": 1, **fields}
    assert {name: getattr(caught.value, name) for name in found} == found
    assert f"row 1: transfer {wrong.id}" in str(caught.value)
    assert fields["status"].name.lower() in str(caught.value)
    if wrong is GOOD:
        raise_for_status(results, events, allow_exists=True)


def test_of_a_chain_the_member_that_broke_it_is_told(tmp_path: Path) -> None:
    """Not the first that went down with it."""
    linked = TransferFlags.LINKED
    chain = [move(11, FREE, POOR, flags=linked), move(12, FREE, 404, flags=linked),
             move(13, FREE, POOR)]  # fmt: skip
    with Ledger.open(tmp_path) as ledger:
        ledger.create_accounts(ACCOUNTS)
        results = ledger.create_transfers(chain)
    with pytest.raises(AccountNotFound, match=r"row 1: .*3 of the request were refused") as caught:
        raise_for_status(results, chain)
    assert (caught.value.index, caught.value.refused) == (1, 3)


LINKED: Final = TransferFlags.LINKED
CHAIN: Final = [move(21, FREE, POOR, flags=LINKED), move(22, POOR, FREE, amount=3)]
RESERVED: Final = move(20, FREE, POOR, flags=TransferFlags.PENDING)
POSTING: Final = [
    Transfer(id=31, pending_id=20, amount=AMOUNT_MAX,
             flags=LINKED | TransferFlags.POST_PENDING_TRANSFER),
    move(32, FREE, POOR),
]  # fmt: skip


def send_again(path: Path, first: list[Transfer], again: list[Transfer], **how: Any) -> None:  # noqa: ANN401
    """Create ``first``, then ``again``, and raise for the second answer."""
    with Ledger.open(path) as ledger:
        ledger.create_accounts(ACCOUNTS)
        raise_for_status(ledger.create_transfers([RESERVED]), [RESERVED])
        raise_for_status(ledger.create_transfers(first), first)
        how = {"ledger": ledger, "allow_exists": True, **how}
        for events in (again, transfer_rows(again)):
            results: Any = ledger.create_transfers(events)
            raise_for_status(results, events, **how)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (CHAIN, CHAIN),
        (POSTING, POSTING),
        ([*CHAIN, *POSTING], [GOOD, *CHAIN, *POSTING]),
    ],
)
def test_a_chain_that_happened_before_counts_as_created(
    tmp_path: Path, first: list[Transfer], again: list[Transfer]
) -> None:
    """A program that takes it for a failure pays twice."""
    send_again(tmp_path, first, again)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ([attrs.evolve(CHAIN[0], flags=LINKED), GOOD], CHAIN),
        (CHAIN, [CHAIN[0], attrs.evolve(CHAIN[1], amount=4)]),
        (CHAIN, [CHAIN[0], attrs.evolve(CHAIN[1], flags=LINKED), move(23, FREE, POOR)]),
        (
            [CHAIN[0], attrs.evolve(CHAIN[0], id=24, flags=TransferFlags.NONE)],
            [CHAIN[0], CHAIN[0], CHAIN[1]],
        ),
    ],
)
def test_a_chain_that_only_begins_with_what_exists_has_failed(
    tmp_path: Path, first: list[Transfer], again: list[Transfer]
) -> None:
    """An event of it is missing, differs, or comes twice: the member that broke it is named."""
    with pytest.raises(TransferFailed, match="row 0: transfer 21: exists"):
        send_again(tmp_path, first, again)


def test_without_the_ledger_a_chain_is_in_doubt(tmp_path: Path) -> None:
    """That is no refusal; a true refusal beside it comes first."""
    with pytest.raises(ChainNotChecked, match=r"row 0: 21 exists.* ledger=") as caught:
        send_again(tmp_path / "doubt", CHAIN, CHAIN, ledger=None)
    assert not isinstance(caught.value, Refused)
    with pytest.raises(AccountNotFound, match="row 2"):
        send_again(tmp_path / "refused", CHAIN, [*CHAIN, move(33, 404, FREE)], ledger=None)
    with pytest.raises(TransferFailed, match="row 0: transfer 21: exists"):
        send_again(tmp_path / "strict", CHAIN, CHAIN, allow_exists=False)


def test_a_chain_of_accounts_may_have_happened_before(tmp_path: Path) -> None:
    """As with transfers, and for asyncio."""
    chain = [Account(id=7, ledger=1, code=1, flags=AccountFlags.LINKED),
             Account(id=8, ledger=1, code=1)]  # fmt: skip

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path) as ledger:
            for _ in range(2):
                results = await ledger.create_accounts(chain)
                await ledger.raise_for_status(results, chain, allow_exists=True)
            other = [chain[0], Account(id=9, ledger=1, code=1)]
            with pytest.raises(AccountFailed, match="row 0: account 7: exists"):
                await ledger.raise_for_status(
                    await ledger.create_accounts(other), other, allow_exists=True
                )

    asyncio.run(use())


@pytest.mark.parametrize("as_rows", [False, True])
def test_accounts_that_are_refused(tmp_path: Path, *, as_rows: bool) -> None:
    """Their statuses are their own."""
    accounts: Any = [Account(id=1, ledger=1, code=1), Account(id=2, ledger=1)]
    accounts = account_rows(accounts) if as_rows else accounts
    with Ledger.open(tmp_path) as ledger:
        results: Any = ledger.create_accounts(accounts)
    with pytest.raises(AccountFailed, match="row 1: account 2: code_must_not_be_zero") as caught:
        raise_for_status(results, accounts)
    assert caught.value.status is CreateAccountStatus.CODE_MUST_NOT_BE_ZERO


def test_results_of_another_request_are_noticed() -> None:
    """And of nothing nothing was refused."""
    with pytest.raises(InvalidField, match="results"):
        raise_for_status([], [GOOD])
    raise_for_status([], [])
