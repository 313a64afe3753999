"""What holds after each single event, and that a ledger may end after any of its records."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nostro import Account, AccountFlags, CreateTransferStatus, Ledger, Reader, Transfer, audit
from nostro.journal.model import Rows
from nostro.journal.rows import field_ints
from nostro.journal.writing.writer import Writer
from tests.clocks import HandClock
from tests.traffic import TIMEOUT, Past, Traffic

SECOND: Final = 10**9
LIMITS: Final = (
    (AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS, "debits", "credits"),
    (AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS, "credits", "debits"),
)


def write(path: Path, seed: int, requests: int) -> HandClock:
    """A ledger of random traffic, some of whose timeouts have ended."""
    random, traffic, past, clock = Random(seed), Traffic(), Past(), HandClock(1_000)
    with Ledger.open(path, clock=clock, segment_bytes_max=4096, checkpoint_events=50) as ledger:
        for number in range(requests):
            clock.now += random.choice((1, 100, 100, TIMEOUT * SECOND))
            created: list[tuple[Account | Transfer, int]] = []
            if number % 4 == 0:
                accounts = traffic.accounts(random, 12, past, clock.now)
                answers = ledger.create_accounts(accounts)
                created += [
                    (account, answer.timestamp)
                    for account, answer in zip(accounts, answers, strict=True)
                    if answer.status.name == "CREATED"
                ]
            else:
                transfers = traffic.transfers(random, random.randrange(1, 30), past, clock.now)
                results = ledger.create_transfers(transfers)
                created += [
                    (transfer, result.timestamp)
                    for transfer, result in zip(transfers, results, strict=True)
                    if result.status is CreateTransferStatus.CREATED
                ]
            for event, timestamp in created:
                past.note(event, timestamp)
    return clock


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_after_every_event_the_books_balance(seed: int) -> None:
    """Debits equal credits, posted and pending; what is limited keeps its limit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        write(path, seed, 16)
        with Ledger.open(path, read_only=True) as ledger:
            for position in range(ledger.position + 1):
                past = ledger.at(position=position)
                assert past.position == position
                assert_balanced(past.accounts())


def assert_balanced(accounts: Rows) -> None:
    amounts = {
        name: field_ints(accounts[name])
        for name in ("debits_posted", "credits_posted", "debits_pending", "credits_pending")
    }
    assert sum(amounts["debits_posted"]) == sum(amounts["credits_posted"])
    assert sum(amounts["debits_pending"]) == sum(amounts["credits_pending"])
    for flag, limited, other in LIMITS:
        for at in np.flatnonzero(accounts["flags"] & np.uint16(flag)):
            used = amounts[f"{limited}_posted"][at] + amounts[f"{limited}_pending"][at]
            assert used <= amounts[f"{other}_posted"][at]


@pytest.mark.parametrize("seed", range(3))
def test_any_prefix_of_the_journal_is_a_ledger(tmp_path: Path, seed: int) -> None:
    """It opens, adds up to what the whole one held at that position, and takes requests."""
    clock = write(tmp_path / "whole", seed, 24)
    records = list(Reader(tmp_path / "whole").records())
    assert len(records) > 12
    with Ledger.open(tmp_path / "whole", read_only=True) as whole:
        for count in range(0, len(records) + 1, 3):
            path = tmp_path / str(count)
            writer = Writer.open(path)
            for record in records[:count]:
                queued = writer.append(
                    record.encoded,
                    kind=record.kind,
                    event_count=record.event_count,
                    timestamp_min=record.timestamp_min,
                    timestamp_max=record.timestamp_max,
                    generation=writer.generation,
                )
                assert queued is not None
                writer.wait(queued)
            writer.close()
            position = records[count - 1].position_last if count else 0
            clock.now = records[count - 1].timestamp_max + 1 if count else 1
            with Ledger.open(path, clock=clock) as prefix:
                expected = whole.at(position=position)
                assert prefix.state_sha256() == expected.state_sha256()
                new = [Account(id=2**90 + id_, ledger=1, code=1) for id_ in (1, 2)]
                prefix.create_accounts(new)
                [answer] = prefix.create_transfers(
                    [Transfer(2**100, new[0].id, new[1].id, 5, ledger=1, code=1)]
                )
                assert answer.status is CreateTransferStatus.CREATED
            assert audit(path).passed
