"""The tree over a journal's events: what an entry is, roots at every position, what is kept."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import attrs
import numpy as np
import pytest

from nostro.journal.errors import CorruptFrame, DecodeError, OutOfRange
from nostro.journal.evidence import entries as entries_module
from nostro.journal.evidence import merkle
from nostro.journal.evidence.entries import (
    describe_entry,
    entry_at,
    leaf_hashes,
    record_leaf_hashes,
)
from nostro.journal.evidence.merkle import leaf_hash
from nostro.journal.evidence.root import Root
from nostro.journal.evidence.tree import EventTree
from nostro.journal.evidence.tree_file import read_subtrees
from nostro.journal.format import container
from nostro.journal.format.codec import encode_cbor
from nostro.journal.format.events import (
    AccountCreated,
    DomainEvent,
    Event,
    TransferRefused,
    encode_domain_event,
)
from nostro.journal.model import Account, Transfer, TransferFlags
from nostro.journal.reading.reader import Reader, Record
from nostro.journal.storage.files import Storage
from nostro.projections.ledger.ledger import Ledger
from tests.clocks import HandClock
from tests.journals import commit, files_under, flip, open_writer
from tests.storages import CHANGES, ObservedStorage, Operation
from tests.unit.test_merkle import naive_root

_SUBTREE = 4096


def write_mixed(path: Path, *, together: bool) -> None:
    """A ledger with events of every kind; ``together`` decides how they meet in requests."""
    clock = HandClock(10**18)
    with Ledger.open(path, segment_bytes_max=4096, clock=clock, expiry_seconds=3600) as ledger:
        accounts = [Account(id=number, ledger=1, code=1, user_data_64=7) for number in (1, 2)]
        transfers = [
            Transfer(id=2**100 + number, debit_account_id=1, credit_account_id=2 + number % 9 // 8,
                     amount=number, ledger=1, code=1)
            for number in range(1, 40)
        ]  # fmt: skip
        pending = Transfer(
            id=9, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1, timeout=1,
            flags=TransferFlags.PENDING,
        )  # fmt: skip
        for some in [accounts] if together else [[one] for one in accounts]:
            ledger.create_accounts(some)
        for few in (
            [[*transfers, pending]] if together else [[one] for one in (*transfers, pending)]
        ):
            ledger.create_transfers(few)
        clock.now += 2 * 10**9
        ledger.create_transfers([attrs.evolve(transfers[0], id=10)])


def events(path: Path) -> Iterator[Event]:
    for record in Reader(path).records():
        yield from record.events()


def packed(event: Event) -> bytes:
    """The entry of an event, from its fields as docs/format.md has them."""
    if isinstance(event, DomainEvent):
        stored = encode_cbor(encode_domain_event(event))
        return struct.pack("<QII", event.position, 3, 2**32 - 1) + stored
    fields: list[int]
    if isinstance(event, AccountCreated):
        fields = list(attrs.astuple(event.account))
        fields.insert(8, 0)
    else:
        fields = list(attrs.astuple(event.transfer))
    head = struct.pack(
        "<QII", event.position, 1 if isinstance(event, AccountCreated) else 2,
        event.status if isinstance(event, TransferRefused) else 2**32 - 1,
    )  # fmt: skip
    wide = b"".join(field.to_bytes(16, "little") for field in fields[:6])
    return head + wide + struct.pack("<QIIIHHQ", *fields[6:])


def test_more_expiries_than_a_subtree_has_leaves(tmp_path: Path) -> None:
    """They are one record, and its leaves belong to several subtrees."""
    clock, path = HandClock(10**18), tmp_path / "ledger"
    with Ledger.open(path, clock=clock, expiry_seconds=3600) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        ledger.create_transfers(
            [Transfer(id=id_, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1,
                      timeout=1, flags=TransferFlags.PENDING) for id_ in range(1, 13_001)]
        )  # fmt: skip
        clock.now += 2 * 10**9
        assert ledger.lookup_accounts([1])[0].debits_pending == 0
    assert [record.event_count for record in Reader(path).records()] == [2, 13_000, 13_000]
    assert EventTree(path).root() == naive_root([packed(event) for event in events(path)])


def write_rows(path: Path, counts: list[int], first: int = 1) -> None:
    """Transfers in records of so many, added to what is there."""
    writer = open_writer(path, segment_bytes_max=1 << 20)
    for count in counts:
        commit(writer, first, count)
        first += count
    writer.close()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,001 transfers in records of many sizes: four whole subtrees and a rest."""
    path = tmp_path_factory.mktemp("rows") / "ledger"
    write_rows(path, [1, 8190, 3, 4096, 5000, 2711])
    return path


@pytest.fixture(scope="module")
def entries(rows: Path) -> list[bytes]:
    return [packed(event) for event in events(rows)]


def subtrees_file(path: Path) -> Path:
    return path / "tree" / "subtrees"


@pytest.fixture
def copy(rows: Path, tmp_path: Path) -> Path:
    """The same ledger, to be changed; nothing is kept of its tree."""
    for name, content in files_under(rows).items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    if subtrees_file(tmp_path / "copy").exists():
        subtrees_file(tmp_path / "copy").unlink()
        subtrees_file(tmp_path / "copy").parent.rmdir()
    return tmp_path / "copy"


# --- entries --------------------------------------------------------------------------------------


def test_an_entry_is_what_the_format_says(tmp_path: Path) -> None:
    """Accounts, transfers, refusals and expiries: position, kind, status, and row or CBOR."""
    write_mixed(tmp_path / "ledger", together=True)
    found = list(events(tmp_path / "ledger"))
    assert {type(event).__name__ for event in found} == {
        "AccountCreated", "TransferCreated", "TransferRefused", "PendingExpired",
    }  # fmt: skip
    for record in Reader(tmp_path / "ledger").records():
        for event in record.events():
            assert entry_at(record, event.position) == packed(event)
    assert EventTree(tmp_path / "ledger").root() == naive_root(list(map(packed, found)))


def test_requests_frames_and_segments_leave_no_trace(tmp_path: Path) -> None:
    """The same events have the same root, however they came and wherever they lie."""
    write_mixed(tmp_path / "one", together=True)
    write_mixed(tmp_path / "many", together=False)
    segments = [len(list((tmp_path / name / "segments").iterdir())) for name in ("one", "many")]
    assert segments[0] < segments[1]
    one, many = EventTree(tmp_path / "one"), EventTree(tmp_path / "many")
    assert (one.position, one.root()) == (many.position, many.root())


def test_an_entry_is_told_in_words(tmp_path: Path) -> None:
    """Every field under its name; wide numbers are text."""
    write_mixed(tmp_path / "ledger", together=True)
    told = [describe_entry(packed(event)) for event in events(tmp_path / "ledger")]
    assert (told[0]["kind"], told[0]["id"], told[0]["user_data_64"]) == ("account", "1", "7")
    assert (told[2]["kind"], told[2]["status"], told[2]["amount"]) == ("transfer", "CREATED", "1")
    assert told[2]["id"] == str(2**100 + 1)
    assert told[9]["status"] == "CREDIT_ACCOUNT_NOT_FOUND"
    expired = next(one for one in told if one["kind"] == "event")
    assert (expired["t"], expired["id"]) == ("pending_expired", f"{9:032x}")
    assert [one["position"] for one in told] == list(range(1, len(told) + 1))


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        struct.pack("<QII", 1, 2, 2**32 - 1),
        struct.pack("<QII", 1, 2, 2**32 - 1) + bytes(127),
        struct.pack("<QII", 1, 2, 2) + bytes(129),
        struct.pack("<QII", 1, 2, 9999) + bytes(128),
        struct.pack("<QII", 1, 4, 2**32 - 1) + bytes(128),
        struct.pack("<QII", 1, 3, 2**32 - 1) + b"\x01",
        struct.pack("<QII", 1, 3, 2**32 - 1) + b"\xa1\x01\x01",
        struct.pack("<QII", 1, 3, 2**32 - 1) + b"\xff",
    ],
)
def test_what_is_no_entry_is_not_told(entry: bytes) -> None:
    """A typed error, whatever the bytes are."""
    with pytest.raises(DecodeError):
        describe_entry(entry)


# --- roots and proofs -----------------------------------------------------------------------------


SIZES = (0, 1, 2, 4095, 4096, 4097, 8191, 8192, 8193, 12_290, 16_384, 20_000, 20_001)


@pytest.mark.parametrize("use_kept", [True, False])
def test_the_root_at_any_position_is_the_definition(
    rows: Path, entries: list[bytes], use_kept: bool
) -> None:
    """In whatever order they are asked for, kept or not."""
    tree = EventTree(rows, use_kept=use_kept)
    for size in (*SIZES, *reversed(SIZES)):
        assert tree.root(size) == naive_root(entries[:size])
    assert tree.root() == naive_root(entries)


def test_proofs_from_the_journal_hold(rows: Path, entries: list[bytes]) -> None:
    """Of events beside every border, under roots of every shape; and between such roots."""
    tree = EventTree(rows)
    roots = {
        size: Root.take(tree.ledger_id, size, naive_root(entries[:size])) for size in SIZES if size
    }
    for size, root in roots.items():
        for position in {1, 2, 4096, 4097, 8192, 12_000, size} & set(range(1, size + 1)):
            proof = tree.prove_inclusion(position, size=size)
            assert (proof.event_position, proof.entry) == (position, entries[position - 1])
            proof.check(root)
    for old, size in [*pairwise(roots), (1, 20_001), (4096, 20_001), (4097, 4097), (8191, 16_384)]:
        tree.prove_consistency(old, size=size).check(roots[old], roots[size])


@pytest.mark.parametrize("position", [-1, 20_002])
def test_no_root_beyond_the_journal(rows: Path, position: int) -> None:
    """Nor a proof."""
    tree = EventTree(rows)
    with pytest.raises(OutOfRange):
        tree.root(position)
    with pytest.raises(OutOfRange):
        tree.prove_inclusion(1, size=position)
    with pytest.raises(OutOfRange):
        tree.prove_inclusion(max(position, 0), size=100)
    with pytest.raises(OutOfRange):
        tree.prove_consistency(max(position, 0), size=100)
    with pytest.raises(OutOfRange):
        tree.prove_consistency(1, size=position)


def test_an_empty_journal_has_the_root_of_nothing(tmp_path: Path) -> None:
    """SHA-256 of no bytes."""
    open_writer(tmp_path / "ledger").close()
    assert EventTree(tmp_path / "ledger").root() == merkle.EMPTY_ROOT


# --- what is kept ---------------------------------------------------------------------------------


class Counting:
    """Counts the leaves that are hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.leaves = 0

        def counted(record: Record, first: int, last: int) -> Iterator[bytes]:
            for piece in record_leaf_hashes(record, first, last):
                self.leaves += len(piece) // 32
                yield piece

        # private: the root is the same, however much was hashed
        monkeypatch.setattr(entries_module, "record_leaf_hashes", counted)

    def take(self) -> int:
        taken, self.leaves = self.leaves, 0
        return taken


def test_only_what_is_new_is_hashed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After more events, history stays as it was hashed; the root is the same as from nothing."""
    counting = Counting(monkeypatch)
    first = EventTree(copy).root()
    assert counting.take() == 20_001
    assert EventTree(copy).root() == first
    assert counting.take() == 20_001 - 4 * _SUBTREE
    write_rows(copy, [500, 4000], first=20_002)
    grown = EventTree(copy).root()
    assert counting.take() == 24_501 - 4 * _SUBTREE
    assert EventTree(copy).root(20_001) == first
    assert (
        grown
        == EventTree(copy, use_kept=False).root()
        == naive_root(list(map(packed, events(copy))))
    )


def test_without_the_kept_tree_nothing_is_touched(copy: Path) -> None:
    """It is neither read nor written, whatever it says."""
    before = files_under(copy)
    root = EventTree(copy, use_kept=False).root()
    assert files_under(copy) == before
    assert EventTree(copy).root() == root
    assert files_under(copy).keys() - before.keys() == {"tree/subtrees"}
    assert subtrees_file(copy).stat().st_mode & 0o777 == 0o600
    assert subtrees_file(copy).parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_tree_is_made_again(copy: Path) -> None:
    """Every byte of it counts; cut short, emptied or foreign, it is passed over and replaced."""
    root = EventTree(copy).root()
    sound = subtrees_file(copy).read_bytes()
    damaged = [sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :] for at in range(len(sound))]
    for content in [b"", sound[:-1], sound[:40], sound + b"\0", *damaged[::29]]:
        subtrees_file(copy).write_bytes(content)
        assert EventTree(copy).root() == root
        assert subtrees_file(copy).read_bytes() == sound
    for content in damaged:
        subtrees_file(copy).write_bytes(content)
        reader = Reader(copy)
        assert not read_subtrees(Storage(), reader.directory, reader)


def test_the_tree_of_another_ledger_is_not_used(copy: Path, tmp_path: Path) -> None:
    """Nor that of a history which went another way after the same beginning."""
    EventTree(copy).root()
    sound = subtrees_file(copy).read_bytes()
    foreign = container.unpack(sound, file_type="tree") | {"ledger": bytes(16)}
    subtrees_file(copy).write_bytes(container.pack(foreign))
    EventTree(copy).root()
    assert subtrees_file(copy).read_bytes() == sound
    write_rows(tmp_path / "other", [20_001])
    (tmp_path / "other" / "tree").mkdir(exist_ok=True)
    subtrees_file(tmp_path / "other").write_bytes(subtrees_file(copy).read_bytes())
    other = EventTree(tmp_path / "other")
    assert other.root() == EventTree(tmp_path / "other", use_kept=False).root()


class _ReadOnly(ObservedStorage):
    def before(self, operation: Operation) -> None:
        if operation.name in CHANGES:
            raise OSError(errno.EROFS, "Read-only file system", str(operation.path))


def test_who_may_not_write_gets_the_root_all_the_same(copy: Path) -> None:
    """It is only not kept."""
    before = files_under(copy)
    tree = EventTree(copy, storage=_ReadOnly())
    assert tree.root() == EventTree(copy, use_kept=False).root()
    tree.prove_inclusion(5).check(Root.take(tree.ledger_id, tree.position, tree.root()))
    assert files_under(copy) == before


def test_a_ledger_opens_and_verifies_whatever_is_in_the_tree(tmp_path: Path) -> None:
    """No writer reads it; it may be garbage, or gone."""
    write_mixed(tmp_path / "ledger", together=True)
    subtrees_file(tmp_path / "ledger").write_bytes(b"garbage")
    with Ledger.open(tmp_path / "ledger") as ledger:
        position = ledger.position
    subtrees_file(tmp_path / "ledger").unlink()
    subtrees_file(tmp_path / "ledger").parent.rmdir()
    with Ledger.open(tmp_path / "ledger") as ledger:
        assert ledger.position == position


# --- hashing ---


def test_progress_counts_the_events_and_ends_at_the_whole(copy: Path) -> None:
    """After each subtree, in order."""
    told: list[tuple[int, int]] = []
    EventTree(copy, use_kept=False, progress=lambda done, total: told.append((done, total))).root()
    whole = 4 * _SUBTREE
    assert told == [(done, whole) for done in range(_SUBTREE, whole + 1, _SUBTREE)]


def test_damage_found_while_hashing_names_the_segment(copy: Path) -> None:
    """The error of the reader reaches the caller unchanged."""
    segment = min((copy / "segments").iterdir())
    flip(segment)
    with pytest.raises(CorruptFrame) as told:
        EventTree(copy, use_kept=False).root()
    assert told.value.path == segment


def test_leaves_are_hashed_as_one_by_one(rows: Path, entries: list[bytes]) -> None:
    """Over the borders of records and pieces."""
    found = b"".join(leaf_hashes(Reader(rows), 8100, 12_400))
    assert found == b"".join(map(leaf_hash, entries[8099:12_400]))
    assert len(np.unique(np.frombuffer(found, "V32"))) == 12_400 - 8099


def test_a_tree_longer_than_the_journal_is_bound_to_nothing(copy: Path) -> None:
    """That a frame is not there makes no file fit that names none."""
    EventTree(copy).root()
    body = container.unpack(subtrees_file(copy).read_bytes(), file_type="tree")
    longer = body | {"subtrees": bytes(32 * 1_000), "frame_sha256": None}
    subtrees_file(copy).write_bytes(container.pack(longer))
    reader = Reader(copy)
    assert not read_subtrees(Storage(), reader.directory, reader)
