"""Records of commands: accounts, transfers and domain events in one frame, read by everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nostro import (
    Damage,
    EventTree,
    Ledger,
    QueryFilter,
    Reader,
    RecordKind,
    Root,
    TransferCreated,
    TransferFlags,
    backup,
    decode_proof,
    restore,
    verify,
)
from nostro.journal import AccountCreated, DecodeError, EventRecorded
from nostro.journal.evidence.entries import describe_entry, entry_at
from nostro.journal.format import codec
from nostro.journal.format.events import Event, decode_domain_event, encode_domain_event
from nostro.projections.checkpoints.audit import audit
from tests.clocks import HandClock
from tests.command_records import COMMANDS, append, executed, recorded, transfer
from tests.integration.test_cli import good, objects
from tests.tigerbeetle.mirrors import assert_mirrored, mirror_of
from tests.tigerbeetle.simulated import SimulatedCluster
from tests.unit.test_merkle import naive_root


@pytest.fixture
def books(tmp_path: Path) -> Path:
    return tmp_path / "books"


@pytest.fixture
def written(books: Path) -> list[Event]:
    """Two frames of commands with other requests between and after them."""
    first = append(books, COMMANDS[:1])
    with Ledger.open(books) as ledger:
        ledger.create_transfers([transfer(12, 7)])
    second = append(books, COMMANDS[1:])
    with Ledger.open(books) as ledger:
        ledger.create_transfers([transfer(13, 9)])
    return first + second


def test_events_come_by_position_as_they_were_written(books: Path, written: list[Event]) -> None:
    """Command by command, whatever their places in the payload."""
    records = list(Reader(books).records())
    assert [record.kind for record in records] == [4, 2, 4, 2]
    found = [event for record in records for event in record.events()]
    assert [event.position for event in found] == list(range(1, len(written) + 3))
    assert [event for event in found if event in written] == written
    assert verify(books, decode=True).position == len(found)


def test_money_is_folded_at_every_position(books: Path, written: list[Event]) -> None:
    """A past moment may lie within a command; opening, the indexes and an audit agree."""
    with Ledger.open(books, read_only=True) as ledger:
        for position in (*range(1, 20), 300, ledger.position):
            before = [it for record in Reader(books).records() for it in record.events()
                      if it.position <= position]  # fmt: skip
            moved = [it.transfer for it in before if isinstance(it, TransferCreated)]
            posted = sum(it.amount for it in moved if not it.flags & TransferFlags.PENDING)
            opened = [it.account.id for it in before if isinstance(it, AccountCreated)]
            past = ledger.at(position=position)
            found = past.lookup_accounts([1, 2, 3])
            assert sorted(it.id for it in found) == sorted(opened)
            assert sum(it.debits_posted for it in found) == posted
        ids = [it.transfer.id for it in written if isinstance(it, TransferCreated)]
        assert [it.id for it in ledger.lookup_transfers(ids)] == ids
        of_code = ledger.query_transfers(QueryFilter(code=7, limit=1_000))
        assert sorted(it.id for it in of_code) == sorted([*ids, 12, 13])
    assert all(one.agrees for one in audit(books).comparisons)


def test_each_event_is_a_leaf_of_the_tree(books: Path, written: list[Event]) -> None:
    """A proof shows accounts and transfers as rows, and what a domain stored as JSON."""
    records = list(Reader(books).records())
    entries = [
        entry_at(record, position)
        for record in records
        for position in range(record.position_first, record.position_last + 1)
    ]
    assert EventTree(books).root() == naive_root(entries)
    [opened] = [it for it in written if isinstance(it, EventRecorded)][:1]
    shown = describe_entry(entries[opened.position - 1])
    assert (shown["t"], shown["d"]["a"]) == ("shop.opened", [1, "00ff", None, True])
    proof = EventTree(books).prove_inclusion(opened.position)
    assert decode_proof(proof.encode()) == proof
    proof.check(Root.take(proof.ledger_id, proof.position, proof.root))


def test_an_export_makes_the_same_ledger(books: Path, written: list[Event]) -> None:
    """The same events at the same positions, and the same commands."""
    out = books.parent / "books.jsonl"
    good("export", books, "--out", out, "-q")
    good("import", books.parent / "again", out, "-q")
    assert EventTree(books.parent / "again").root() == EventTree(books).root()
    before, after = (
        [record.payload.counts for record in Reader(path).records()]
        for path in (books, books.parent / "again")
    )
    assert before == after
    lines = objects("log", books, "--json")
    assert [line["event"] for line in lines if line["position"] == 5] == ["command_executed"]
    assert "shop.opened" in good("log", books)


def test_copies_keep_them(books: Path, written: list[Event]) -> None:
    """A backup, and what is restored from it: kinds, events, and balances."""
    backup(books, books.parent / "copy")
    restore(books.parent / "copy", books.parent / "again", until_position=len(written) + 1)
    *kept, last = Reader(books.parent / "again").records()
    assert [record.kind for record in kept] == [4, 2, 4]
    assert last.kind is RecordKind.EVENTS
    assert [it for record in kept for it in record.events() if it in written] == written


def test_money_of_commands_is_mirrored(books: Path, written: list[Event]) -> None:
    """Accounts before the transfers that need them; events of domains stay here."""
    clock = HandClock(Reader(books).head().timestamp + 10**9)
    cluster = SimulatedCluster(lambda: clock.now + 10**9)
    with mirror_of(books, cluster) as mirror:
        assert mirror.catch_up().lag_events == 0
    assert_mirrored(books, cluster, clock)
    assert (len(cluster.accounts), len(cluster.transfers)) == (3, 607)
    with mirror_of(books, cluster) as mirror:  # it finds out from the cluster how far it is
        assert mirror.catch_up().lag_events == 0
    assert len(cluster.transfers) == 607


@pytest.mark.parametrize(
    ("header", "cause"),
    [({"kind": RecordKind.TRANSFERS}, "another kind"), ({"event_count": 4}, "another number")],
)
def test_a_frame_that_says_otherwise_is_damage(
    books: Path, header: dict[str, Any], cause: str
) -> None:
    """Its checksums fit, and yet no writer writes it."""
    append(books, COMMANDS[:1], **header)
    for call in (
        lambda: verify(books, decode=True),
        lambda: [record.payload for record in Reader(books).records()],
        lambda: Ledger.open(books),
    ):
        with pytest.raises(Damage, match=cause):
            call()


@pytest.mark.parametrize(
    "change",
    [
        {"c": []},
        {"c": [1, 1]},
        {"c": [2, 1, 1, 1]},
        {"c": [2, 1, 1]},
        {"c": [2, 1, 3]},
        {"c": [2, 1, 2, 0, 0, 0]},
        {"c": [3, 1, 1]},
        {"c": [True, 1, 2, 1, 0, 0]},
        {"c": [-1, 1, 5]},
        {"c": "x"},
        {"b": []},
        {"b": [b"\x00"]},
        {"e": []},
        {"e": [{"t": "shop.x"}, {"t": "shop.x", "v": 1}]},
        {"n": 6},
        {"s": b""},
        {"x": 1},
    ],
)
def test_a_malformed_payload_of_commands_is_refused(books: Path, change: dict[str, Any]) -> None:
    """Though it is canonical CBOR."""
    append(books, COMMANDS[:1])
    [record] = Reader(books).records()
    body = {**codec.decode_cbor(record.encoded), **change}
    with pytest.raises(DecodeError):
        codec.decode_payload(codec.encode_cbor(body))


@pytest.mark.parametrize(
    "change",
    [
        {"t": "Shop.x"}, {"t": "shop."}, {"t": "shop.x.y"}, {"v": 0}, {"v": 2**31}, {"at": -1},
        {"at": None}, {"by": ""}, {"by": "x" * 129}, {"key": None}, {"req": 1}, {"more": 1},
    ],
)  # fmt: skip
def test_a_malformed_event_of_a_domain_is_refused(change: dict[str, Any]) -> None:
    """Its type, version, time and origin are checked; its data can be anything."""
    stored = {**encode_domain_event(recorded("x")), **change}
    with pytest.raises(DecodeError):
        decode_domain_event(stored, position=1)


@pytest.mark.parametrize("change", [{"n": 0}, {"n": "1"}, {"of": b""}, {"of": 1}, {"answer2": 1}])
def test_a_malformed_command_is_refused(change: dict[str, Any]) -> None:
    """What was asked and how many events it is."""
    stored = {**encode_domain_event(executed(3)), **change}
    with pytest.raises(DecodeError):
        decode_domain_event(stored, position=1)


def test_leaves_of_many_events_take_one_look_each(books: Path) -> None:
    """The places of a record's events are worked out once, and not for every leaf."""
    count = 10_000
    append(books, [[([], [], [recorded("noted")] * count)]])
    [record] = Reader(books).records()
    assert isinstance(record.parts[0].positions, np.ndarray)
    assert record.parts[0].positions is record.parts[0].positions
    assert EventTree(books).root() == naive_root(
        [entry_at(record, position) for position in range(1, count + 1)]
    )
