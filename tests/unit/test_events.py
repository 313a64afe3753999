"""Events: stored, read back, and brought up from every version there ever was."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import DecodeError
from nostro.journal.format import codec
from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.format.events import (
    DOMAIN_EVENT_VERSIONS,
    UPCASTS,
    AccountCreated,
    DomainEvent,
    LedgerRepaired,
    LedgerRestored,
    PendingExpired,
    TransferCreated,
    TransferRefused,
    decode_domain_event,
    encode_domain_event,
    events_of,
    upcast,
)
from nostro.journal.model import Account, AccountFlags, CreateTransferStatus, Transfer
from nostro.journal.rows import account_rows, transfers_from_rows
from tests.journals import transfers

EXPIRED = encode_domain_event(PendingExpired(position=5, timestamp=77, transfer_id=2**127 + 1))


@given(
    position=st.integers(1, 2**63),
    timestamp=st.integers(0, 2**63 - 1),
    transfer_id=st.integers(0, 2**128 - 1),
)
def test_a_domain_event_survives(position: int, timestamp: int, transfer_id: int) -> None:
    """It comes back from the bytes that are stored; its position is where it stands."""
    event = PendingExpired(position, timestamp, transfer_id)
    payload = codec.decode_payload(codec.encode_domain_events([encode_domain_event(event)]))
    assert list(events_of(payload, range(position, position + 1))) == [event]


LINEAGE = [
    LedgerRestored(9, 77, bytes(range(16)), 8, bytes(range(32))),
    LedgerRepaired(9, 77, bytes(range(16)), 0, bytes(32), 3, "damaged at byte 700"),
]


@pytest.mark.parametrize("event", LINEAGE)
def test_where_a_ledger_is_from_survives(event: DomainEvent) -> None:
    """What a restore or a repair wrote down is read back."""
    payload = codec.decode_payload(codec.encode_domain_events([encode_domain_event(event)]))
    assert list(events_of(payload, range(9, 10))) == [event]


@pytest.mark.parametrize("event", LINEAGE)
@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"at": -1}, {"from": bytes(15)}, {"from": "x" * 16}, {"kept": -1},
        {"kept": True}, {"frame": bytes(16)}, {"frame": ...}, {"more": 1}, {"lost": "3"},
        {"why": b"x"},
    ],
)  # fmt: skip
def test_a_malformed_origin_is_refused(event: DomainEvent, change: dict[str, Any]) -> None:
    """As for every other event."""
    both = {**encode_domain_event(event), **change}
    stored = {key: value for key, value in both.items() if value is not ...}
    with pytest.raises(DecodeError):
        decode_domain_event(stored, position=9)


def test_a_cause_is_not_stored_at_any_length() -> None:
    """The event must fit a frame whatever the damage had to say."""
    long = LedgerRepaired(9, 77, bytes(16), 0, bytes(32), 3, "x" * 100_000)
    assert len(encode_domain_event(long)["why"]) == 1_000


def test_accounts_become_events_in_order() -> None:
    """Each row is one event, at its own position and time."""
    accounts = [
        Account(id=id_, ledger=1, code=2, flags=AccountFlags.HISTORY, timestamp=id_ + 100)
        for id_ in (7, 8, 9)
    ]
    data = codec.encode_rows(RecordKind.ACCOUNTS, account_rows(accounts), None)
    assert list(events_of(codec.decode_payload(data), range(4, 4 + len(accounts)))) == [
        AccountCreated(4 + index, account.timestamp, account)
        for index, account in enumerate(accounts)
    ]


def test_transfers_become_events_that_say_what_became_of_them() -> None:
    """A transfer that was refused for good is told from those that took effect."""
    refused = CreateTransferStatus.EXCEEDS_CREDITS
    rows = transfers(1, 3)
    data = codec.encode_rows(
        RecordKind.TRANSFERS, rows, np.array([CREATED, refused, CREATED], np.uint32)
    )
    first, second, third = transfers_from_rows(rows)
    assert list(events_of(codec.decode_payload(data), range(10, 13))) == [
        TransferCreated(10, 10, first),
        TransferRefused(11, 20, second, refused),
        TransferCreated(12, 30, third),
    ]


def test_transfers_without_refusals_are_all_created() -> None:
    """A record that lists no refusals has none."""
    data = codec.encode_rows(RecordKind.TRANSFERS, transfers(1, 2), None)
    events = list(events_of(codec.decode_payload(data), range(1, 3)))
    assert [type(event) for event in events] == [TransferCreated] * 2
    assert [event.position for event in events] == [1, 2]
    assert isinstance(events[0], TransferCreated)
    assert isinstance(events[0].transfer, Transfer)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"t": "unheard_of"}, id="an unknown type"),
        pytest.param({"v": 2}, id="a newer version"),
        pytest.param({"v": 0}, id="a version that never was"),
        pytest.param({"at": ...}, id="no time"),
        pytest.param({"at": "77"}, id="a time as text"),
        pytest.param({"at": True}, id="a time that is no number"),
        pytest.param({"at": None}, id="a time that is null"),
        pytest.param({"at": -1}, id="a time before all times"),
        pytest.param({"at": 2**63}, id="a time after all times"),
        pytest.param({"id": ...}, id="no transfer"),
        pytest.param({"id": b"short"}, id="an id too short"),
        pytest.param({"id": bytes(17)}, id="an id too long"),
        pytest.param({"id": "x" * 16}, id="an id as text"),
        pytest.param({"more": 1}, id="an unknown field"),
    ],
)
def test_a_malformed_domain_event_is_refused(change: dict[str, Any]) -> None:
    """Reading a stored event ends in the event or in DecodeError."""
    stored = {key: value for key, value in {**EXPIRED, **change}.items() if value is not ...}
    with pytest.raises(DecodeError):
        decode_domain_event(stored, position=5)


# --- versions -------------------------------------------------------------------------------------

VERSIONS = {"rate_set": 4, "note": 1}
CHAIN = {
    ("rate_set", 1): lambda old: {"t": "rate_set", "v": 2, "rate_percent": old["rate"]},
    ("rate_set", 2): lambda old: {**old, "v": 3, "currency": "EUR"},
    ("rate_set", 3): lambda old: {
        "t": "rate_set", "v": 4, "currency": old["currency"],
        "rate_ppm": old["rate_percent"] * 10_000,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "stored",
    [
        {"t": "rate_set", "v": 1, "rate": 3},
        {"t": "rate_set", "v": 2, "rate_percent": 3},
        {"t": "rate_set", "v": 3, "rate_percent": 3, "currency": "EUR"},
        {"t": "rate_set", "v": 4, "rate_ppm": 30_000, "currency": "EUR"},
    ],
)
def test_every_old_version_is_read_as_todays(stored: dict[str, Any]) -> None:
    """Each step knows only the next version; together they reach the newest from any."""
    before = dict(stored)
    assert upcast(stored, versions=VERSIONS, upcasts=CHAIN) == {
        "t": "rate_set",
        "v": 4,
        "rate_ppm": 30_000,
        "currency": "EUR",
    }
    assert stored == before


def test_an_event_that_never_changed_needs_no_step() -> None:
    """The current version is handed back as it is stored."""
    stored = {"t": "note", "v": 1, "text": "x"}
    assert upcast(stored, versions=VERSIONS, upcasts=CHAIN) is stored


@pytest.mark.parametrize("version", [0, 5, -1, 2**63])
def test_a_version_this_program_does_not_know_is_refused(version: int) -> None:
    """An event of a newer program is never read by guessing."""
    with pytest.raises(DecodeError, match=f"version {version} is unknown"):
        upcast({"t": "rate_set", "v": version}, versions=VERSIONS, upcasts=CHAIN)


def test_every_version_before_todays_has_a_step() -> None:
    """Whoever raises a version must say how the one before it is read."""
    needed = {(kind, old) for kind, now in DOMAIN_EVENT_VERSIONS.items() for old in range(1, now)}
    assert needed == set(UPCASTS)


def test_no_cause_is_longer_than_is_written() -> None:
    """What was damaged is told in 1,000 characters at most."""
    repaired = LedgerRepaired(1, 2, bytes(16), 0, bytes(32), 3, "x" * 5_000)
    stored = encode_domain_event(repaired)
    assert decode_domain_event(stored, position=1) == attrs.evolve(repaired, cause="x" * 1_000)
    with pytest.raises(DecodeError, match="why"):
        decode_domain_event({**stored, "why": "x" * 1_001}, position=1)
