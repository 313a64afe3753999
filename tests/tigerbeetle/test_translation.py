"""What the journal's events look like in a cluster."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFlags,
    CreateTransferStatus,
    Ledger,
    Transfer,
    TransferFlags,
)
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import TRANSFER, Rows
from nostro.journal.reading.reader import Reader
from nostro.journal.rows import accounts_from_rows, transfers_from_rows
from nostro.projections.tigerbeetle.rows import translation
from nostro.projections.tigerbeetle.rows.translation import Mirrored, expiry_id, mirrored, pieces
from tests.clocks import HandClock

SECOND: Final = 10**9
ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(10**15)


@pytest.fixture
def ledger(tmp_path: Path, clock: HandClock) -> Ledger:
    ledger = Ledger.open(tmp_path / "ledger", clock=clock, expiry_seconds=3_600)
    ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
    return ledger


def last(ledger: Ledger, *, chain_events_max: int = 8_189) -> Mirrored | None:
    """What the newest record becomes; the ledger is closed."""
    ledger.lookup_accounts([1])  # what is due expires first
    ledger.close()
    *_, record = Reader(ledger.path).parts()
    return mirrored(record, chain_events_max=chain_events_max)


def last_transfers(ledger: Ledger, *, chain_events_max: int = 8_189) -> list[Transfer]:
    found = last(ledger, chain_events_max=chain_events_max)
    assert found is not None
    assert found.kind is RecordKind.TRANSFERS
    return transfers_from_rows(found.rows)


def test_accounts_are_imported_with_their_times(ledger: Ledger) -> None:
    """All fields stay; the flag for imports is added."""
    account = Account(
        id=2**128 - 2, ledger=3, code=4, user_data_128=2**100, user_data_64=5, user_data_32=6,
        flags=AccountFlags.HISTORY | AccountFlags.CLOSED,
    )  # fmt: skip
    [answer] = ledger.create_accounts([account])
    found = last(ledger)
    assert found is not None
    assert found.kind is RecordKind.ACCOUNTS
    assert accounts_from_rows(found.rows) == [
        attrs.evolve(
            account, timestamp=answer.timestamp, flags=account.flags | AccountFlags.IMPORTED
        )
    ]


def test_transfers_are_imported_with_their_times(ledger: Ledger) -> None:
    """All fields stay but the timeout, which imported transfers must not have."""
    transfer = attrs.evolve(
        ONE, id=2**128 - 2, user_data_128=2**100, user_data_64=5, user_data_32=6, timeout=60,
        flags=TransferFlags.PENDING,
    )  # fmt: skip
    [answer] = ledger.create_transfers([transfer])
    assert last_transfers(ledger) == [
        attrs.evolve(
            transfer,
            timestamp=answer.timestamp,
            timeout=0,
            flags=transfer.flags | TransferFlags.IMPORTED,
        )
    ]


def test_resolved_amounts_are_mirrored(ledger: Ledger) -> None:
    """What posts or balances "as much as there is" is mirrored with what it was."""
    pending = attrs.evolve(ONE, id=2, amount=70, flags=TransferFlags.PENDING, user_data_64=9)
    post = Transfer(
        id=3, pending_id=2, amount=AMOUNT_MAX, flags=TransferFlags.POST_PENDING_TRANSFER
    )
    back = attrs.evolve(
        ONE, id=4, amount=AMOUNT_MAX, flags=TransferFlags.BALANCING_CREDIT
    )  # all that 2 has on its credit side
    answers = ledger.create_transfers([pending, post, back])
    assert {answer.status for answer in answers} == {CreateTransferStatus.CREATED}
    _, posted, balanced = last_transfers(ledger)
    assert (posted.amount, posted.debit_account_id, posted.user_data_64) == (70, 1, 9)
    assert balanced.amount < AMOUNT_MAX


def test_an_expiry_becomes_a_transfer_that_voids(ledger: Ledger, clock: HandClock) -> None:
    """At the time of the expiry, with an id that follows from the pending one's."""
    pending = attrs.evolve(ONE, id=2**100, timeout=1, flags=TransferFlags.PENDING)
    ledger.create_transfers([pending, attrs.evolve(pending, id=7)])
    clock.now += 2 * SECOND
    first, second = last_transfers(ledger)
    flags = TransferFlags.VOID_PENDING_TRANSFER | TransferFlags.IMPORTED
    assert first == Transfer(id=first.id, pending_id=2**100, flags=flags, timestamp=clock.now)
    assert second.timestamp == clock.now + 1
    assert second.pending_id == 7
    digest = hashlib.sha256(b"nostro: expiry of " + (7).to_bytes(16, "big")).digest()
    assert second.id == expiry_id(7) == int.from_bytes(digest[:16], "big")


@pytest.mark.parametrize("digest", [bytes(16), b"\xff" * 16])
def test_no_expiry_has_an_id_that_no_transfer_may_have(
    digest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither zero nor the largest."""

    class Hash:
        def digest(self) -> bytes:
            return digest + bytes(16)

    monkeypatch.setattr(hashlib, "sha256", lambda _: Hash())
    assert expiry_id(5) == 1


def test_what_was_refused_is_left_out(ledger: Ledger) -> None:
    """It moved nothing, though the journal knows it."""
    refused = attrs.evolve(ONE, id=5, debit_account_id=99)
    answers = ledger.create_transfers([ONE, refused, attrs.evolve(ONE, id=6)])
    assert [answer.status.name for answer in answers][1] == "DEBIT_ACCOUNT_NOT_FOUND"
    assert [transfer.id for transfer in last_transfers(ledger)] == [1, 6]


def test_a_record_of_refusals_alone_becomes_nothing(ledger: Ledger) -> None:
    ledger.create_transfers([attrs.evolve(ONE, id=5, debit_account_id=99)])
    assert last(ledger) is None


def test_the_journal_itself_is_not_touched(ledger: Ledger) -> None:
    """What a record's rows say stays."""
    ledger.create_transfers([ONE])
    ledger.close()
    *_, record = Reader(ledger.path).parts()
    before = record.rows.tobytes()
    assert mirrored(record) is not None
    assert record.rows.tobytes() == before


def chained(lengths: list[int]) -> Rows:
    """Chains of so many rows, one after the other; ids count from 1."""
    rows = np.zeros(sum(lengths), TRANSFER)
    rows["id"][:, 0] = np.arange(1, len(rows) + 1)
    rows["flags"] = translation.LINKED
    rows["flags"][np.cumsum(lengths) - 1] = 0
    return rows


def chain_lengths(rows: Rows) -> list[int]:
    ends = np.flatnonzero(rows["flags"] & translation.LINKED == 0) + 1
    return [int(length) for length in np.diff(np.concatenate(([0], ends)))]


def test_a_chain_longer_than_a_message_is_cut(ledger: Ledger) -> None:
    """Into messages; all of it did take effect, and the cuts are always in the same places."""
    chain = [
        attrs.evolve(ONE, id=id_, flags=TransferFlags.LINKED if id_ < 10 else TransferFlags.NONE)
        for id_ in range(1, 11)
    ]
    ledger.create_transfers([*chain, attrs.evolve(ONE, id=20)])
    found = last(ledger, chain_events_max=4)
    assert found is not None
    assert chain_lengths(found.rows) == [4, 4, 2, 1]
    assert [len(piece) for piece in pieces(found.rows, 4)] == [4, 4, 3]


def test_a_chain_that_fits_is_not_cut(ledger: Ledger) -> None:
    chain = [attrs.evolve(ONE, id=id_, flags=TransferFlags.LINKED) for id_ in range(1, 4)]
    ledger.create_transfers([ONE, *(attrs.evolve(it, id=it.id + 10) for it in chain),
                             attrs.evolve(ONE, id=30)])  # fmt: skip
    found = last(ledger, chain_events_max=4)
    assert found is not None
    assert chain_lengths(found.rows) == [1, 4]


def test_the_longest_chain_there_is(ledger: Ledger) -> None:
    """A request of the ledger's may hold more than a message of TigerBeetle's."""
    chain = [attrs.evolve(ONE, id=id_, flags=TransferFlags.LINKED) for id_ in range(1, 8_190)]
    ledger.create_transfers([*chain, attrs.evolve(ONE, id=8_190)])
    found = last(ledger)
    assert found is not None
    assert chain_lengths(found.rows) == [8_189, 1]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(1, 7))
def test_every_piece_fits_and_breaks_no_chain(lengths: list[int], count_max: int) -> None:
    """Together they are the rows, in order; each is as long as can be."""
    rows = chained(lengths)
    translation.cut_long_chains(rows, count_max)
    parts = [part for length in lengths for part in _cut(length, count_max)]
    assert chain_lengths(rows) == parts
    found = list(pieces(rows, count_max))
    assert np.concatenate(found).tobytes() == rows.tobytes()
    assert all(0 < len(piece) <= count_max for piece in found)
    assert all(not piece["flags"][-1] & translation.LINKED for piece in found)
    for piece, following in pairwise(found):
        assert len(piece) + chain_lengths(following)[0] > count_max


def _cut(length: int, count_max: int) -> list[int]:
    full, rest = divmod(length, count_max)
    return [count_max] * full + [rest] * bool(rest)
