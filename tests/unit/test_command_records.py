"""Records of commands: accounts, transfers and domain events in one frame, read by everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    Account,
    Damage,
    EventTree,
    Ledger,
    QueryFilter,
    Reader,
    RecordKind,
    Root,
    Transfer,
    TransferCreated,
    TransferFlags,
    Writer,
    backup,
    decode_proof,
    restore,
    verify,
)
from nostro.journal import AccountCreated, CommandExecuted, DecodeError, EventRecorded, Origin
from nostro.journal.evidence.entries import describe_entry, entry_at
from nostro.journal.format import codec
from nostro.journal.format.events import Event, decode_domain_event, encode_domain_event
from nostro.journal.rows import account_rows, transfer_rows
from nostro.projections.checkpoints.audit import audit
from tests.integration.test_cli import good, objects
from tests.unit.test_merkle import naive_root

FIRST: Final = 10**18
ORIGIN: Final = Origin(actor="api:shop", key="order-17", request_id="r", correlation_id="c")
DATA: Final = {"a": [1, b"\x00\xff", None, True], "n": 2**63, "m": {"x": "ü"}}


def account(id_: int) -> Account:
    return Account(id=id_, ledger=1, code=1)


def transfer(id_: int, amount: int, flags: TransferFlags = TransferFlags.NONE) -> Transfer:
    return Transfer(id=id_, debit_account_id=1, credit_account_id=2, amount=amount, ledger=1,
                    code=7, flags=flags)  # fmt: skip


def recorded(name: str) -> EventRecorded:
    return EventRecorded(0, 0, f"shop.{name}", 1, DATA, ORIGIN)


def executed(count: int) -> CommandExecuted:
    return CommandExecuted(0, 0, count, bytes(range(32)), ["answer", 2**60], ORIGIN)


Command = tuple[list[Account], list[Transfer], list[EventRecorded | CommandExecuted]]

COMMANDS: Final[list[list[Command]]] = [
    [([account(1), account(2)], [transfer(11, 5)], [recorded("opened"), executed(5)])],
    [
        ([], [transfer(id_, id_) for id_ in range(100, 103)], [recorded("paid")]),
        ([account(3)], [], [recorded("opened")]),
        ([], [transfer(200, 1, flags=TransferFlags.PENDING)], []),
        ([], [], [recorded("noted"), recorded("noted")]),
        ([], [transfer(id_, 1) for id_ in range(1_000, 1_600)], [executed(601)]),
    ],
]
"""Of two frames."""


def append(
    path: Path,
    frames: list[list[Command]],
    *,
    kind: RecordKind = RecordKind.COMMANDS,
    event_count: int | None = None,
) -> list[Event]:
    """Write the commands, a frame each; what was written, by position."""
    written: list[Event] = []
    with_writer = Writer.open(path, segment_bytes_max=8192)
    try:
        at = max(FIRST, with_writer.head.timestamp)
        position = with_writer.head.position
        for commands in frames:
            accounts: list[Account] = []
            transfers: list[Transfer] = []
            stored: list[dict[str, Any]] = []
            counts: list[int] = []
            begun = at + 1
            for of_accounts, of_transfers, events in commands:
                counts += [len(of_accounts), len(of_transfers), len(events)]
                for one in (*of_accounts, *of_transfers, *events):
                    at, position = at + 1, position + 1
                    timed: Any = attrs.evolve(one, timestamp=at)
                    if isinstance(timed, Account):
                        accounts.append(timed)
                        written.append(AccountCreated(position, at, timed))
                    elif isinstance(timed, Transfer):
                        transfers.append(timed)
                        written.append(TransferCreated(position, at, timed))
                    else:
                        event = attrs.evolve(timed, position=position)
                        stored.append(encode_domain_event(event))
                        written.append(event)
            payload = codec.encode_commands(
                account_rows(accounts), transfer_rows(transfers), stored, counts
            )
            queued = with_writer.append(
                payload,
                kind=kind,
                event_count=sum(counts) if event_count is None else event_count,
                timestamp_min=begun,
                timestamp_max=at,
                generation=with_writer.generation,
            )
            assert queued is not None
            with_writer.wait(queued)
    finally:
        with_writer.close()
    return written


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
    count = 20_000
    append(books, [[([], [], [recorded("noted")] * count)]])
    [record] = Reader(books).records()
    assert isinstance(record.parts[0].positions, np.ndarray)
    assert record.parts[0].positions is record.parts[0].positions
    assert EventTree(books).root() == naive_root(
        [entry_at(record, position) for position in range(1, count + 1)]
    )
