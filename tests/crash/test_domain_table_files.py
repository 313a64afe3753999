"""The file of a domain's tables: damaged in any way it is replaced, and never wrong.

Tables are derived. What opens is either empty, at position 0, or exactly what the events up to its
position made.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro.journal.errors import TablesDamaged, TablesUnavailable
from nostro.projections.domains.layers import Layer
from nostro.projections.domains.model import Table
from nostro.projections.domains.table_store import Change, TableStore
from tests.crash.forking import fork_server

LEDGER: Final = bytes(range(16))
IDS: Final = 60
BATCH: Final = 7
WAL_BYTES: Final = 1 << 18
"""Small, so that what was written ahead is often moved."""
KILLS: Final = 24
_SAMPLED: Final = 3
"""One in so many is tried unless NOSTRO_CRASH=long."""
FLIPS: Final = 60
FILES: Final = ("stock.db", "stock.db-wal", "stock.seal")


@attrs.frozen
class Item:
    id: int
    place: int
    size: int
    text: str = ""


class Stock:
    name = "stock"
    version = 1
    events = ()
    tables = (Table("item", Item, key="id", indexes=("place", "size")),)

    def fold(self, event: object, tables: object) -> None: ...


class NewerStock(Stock):
    version = 2


class OtherTables(Stock):
    tables = (Table("item", Item, key="id", indexes=("size", "place")),)


class OtherName(Stock):
    name = "goods"


def change_at(position: int) -> Change:
    """What the event at that position does."""
    key = position * 7919 % IDS
    if position % 5 == 0:
        return Change("item", key, None, position)
    return Change("item", key, Item(key, position % 3, position, "x" * (position % 40)), position)


def rows_at(position: int) -> dict[int, Item]:
    rows: dict[int, Item] = {}
    for change in map(change_at, range(1, position + 1)):
        rows.pop(change.key, None)
        if change.entity is not None:
            rows[change.key] = change.entity
    return rows


def frame_at(position: int) -> bytes:
    return position.to_bytes(32, "big")


def write_until(store: TableStore, position: int) -> None:
    """Go on in batches."""
    while store.position < position:
        end = min(store.position + BATCH, position)
        changes = [change_at(one) for one in range(store.position + 1, end + 1)]
        store.write(changes, position=end, frame_sha256=frame_at(end))


def opened(path: Path, domain: Stock | None = None, ledger_id: bytes = LEDGER) -> TableStore:
    return TableStore.open(path, domain or Stock(), ledger_id, wal_bytes_max=WAL_BYTES)


def check(store: TableStore) -> None:
    """Every entity, by key and by each index, now and earlier."""
    position = store.position
    assert store.frame_sha256 == (frame_at(position) if position else bytes(32))
    for moment in {0, position // 3, position // 2, position}:
        rows = rows_at(moment)
        for key in range(IDS):
            assert store.get("item", key, position=moment) == rows.get(key)
        found = store.find("item", limit=IDS, position=moment).items
        assert found == tuple(rows[key] for key in sorted(rows))
        by_size = store.find("item", order="size", limit=IDS, position=moment).items
        assert by_size == tuple(sorted(rows.values(), key=lambda item: item.size))
        for place in range(3):
            found = store.find("item", where={"place": place}, limit=IDS, position=moment).items
            assert found == tuple(rows[key] for key in sorted(rows) if rows[key].place == place)
    assert store.find("item", limit=IDS).items == tuple(
        rows_at(position)[key] for key in sorted(rows_at(position))
    )


def check_file(path: Path, *, position: int) -> int:
    """What opens is right; then it goes on to ``position``. The position it opened at."""
    store = opened(path)
    try:
        start = store.position
        assert store.was_made <= (start == 0)
        check(store)
        write_until(store, position)
        check(store)
    finally:
        store.close()
    return start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables" / "stock.db"


@pytest.fixture
def closed(path: Path) -> Path:
    """A file of 700 events that was closed."""
    store = opened(path)
    write_until(store, 700)
    store.close()
    return path


@pytest.fixture
def killed(path: Path) -> Path:
    """One whose process was killed at 700 events, with some of them written ahead."""
    process = fork_server().Process(target=_write_and_die, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process.close()
    assert path.with_name("stock.db-wal").stat().st_size > 0
    return path


def _write_and_die(path: Path) -> None:
    store = opened(path)
    write_until(store, 700)
    signal.raise_signal(signal.SIGKILL)


def copies(folder: Path) -> Callable[[], None]:
    """A function that puts all files of a folder back as they are now."""
    files = {file: file.read_bytes() for file in folder.iterdir()}

    def restore() -> None:
        for file in {*folder.iterdir()} - {*files}:
            file.unlink()
        for file, content in files.items():
            file.write_bytes(content)

    return restore


def test_a_closed_file_opens_where_it_was(closed: Path) -> None:
    """Nothing is folded again, and no file is left beside it but its seal."""
    assert sorted(file.name for file in closed.parent.iterdir()) == ["stock.db", "stock.seal"]
    assert check_file(closed, position=750) == 700
    assert check_file(closed, position=750) == 750
    assert closed.stat().st_mode & 0o777 == 0o600


def test_a_killed_one_opens_where_it_was(killed: Path) -> None:
    """What was written ahead counts."""
    assert check_file(killed, position=750) == 700


@pytest.mark.slow
@pytest.mark.parametrize("state", ["closed", "killed"])
def test_no_flipped_byte_gives_a_wrong_row(
    state: str, request: pytest.FixtureRequest, is_long: bool
) -> None:
    """Whatever byte changes, of whatever file: the tables are right, or made anew."""
    path: Path = request.getfixturevalue(state)
    restore = copies(path.parent)
    chance = random.Random(7)
    starts = []
    files = [path.with_name(name) for name in FILES if path.with_name(name).exists()]
    for number in range(FLIPS if is_long else FLIPS // _SAMPLED):
        file = files[number % len(files)]
        data = bytearray(file.read_bytes())
        at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        starts.append(check_file(path, position=701))
        restore()
    assert 0 in starts
    assert any(starts) == (state == "killed")  # SQLite keeps what was written ahead of the damage


@pytest.mark.parametrize("state", ["closed", "killed"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_missing_gives_no_wrong_row(
    state: str, name: str, request: pytest.FixtureRequest
) -> None:
    """The same for a file that ends early, is empty, longer, something else, or missing."""
    path: Path = request.getfixturevalue(state)
    file = path.with_name(name)
    restore = copies(path.parent)
    content = file.read_bytes() if file.exists() else bytes(5_000)
    for damaged in (
        b"", b"\0", content[: len(content) // 2], content[:-1], content + bytes(4096),
        bytes(len(content)), b"SQLite format 3\0", content[::-1], None,
    ):  # fmt: skip
        file.unlink(missing_ok=True)
        if damaged is not None:
            file.write_bytes(damaged)
        check_file(path, position=701)
        restore()


def test_a_link_or_a_folder_in_place_of_it_is_not_followed(closed: Path, tmp_path: Path) -> None:
    """Tables are not written through a symbolic link."""
    elsewhere = tmp_path / "elsewhere.db"
    shutil.move(closed, elsewhere)
    before = elsewhere.read_bytes()
    closed.symlink_to(elsewhere)
    assert check_file(closed, position=10) == 0
    assert elsewhere.read_bytes() == before


@pytest.mark.parametrize(
    ("domain", "ledger_id"),
    [(NewerStock(), LEDGER), (OtherTables(), LEDGER), (OtherName(), LEDGER), (Stock(), bytes(16))],
    ids=["version", "tables", "name", "ledger"],
)
def test_tables_of_another_kind_are_made_anew(
    closed: Path, domain: Stock, ledger_id: bytes
) -> None:
    """Of another ledger, another domain, another version or with other indexes."""
    store = opened(closed, domain, ledger_id)
    assert (store.position, store.was_made, store.find("item").items) == (0, True, ())
    store.close()
    assert check_file(closed, position=20) == 0


def test_an_older_copy_is_at_its_own_position(path: Path) -> None:
    """A stale file is used from where it was; a part of it with a part of another is not."""
    store = opened(path)
    write_until(store, 300)
    store.close()
    restore_older = copies(path.parent)
    write_until(reopened := opened(path), 600)
    reopened.close()
    newer = {file: file.read_bytes() for file in path.parent.iterdir()}
    restore_older()
    assert check_file(path, position=310) == 300
    for file, content in newer.items():
        restore_older()
        file.write_bytes(content)
        assert check_file(path, position=310) == 0


def test_damage_while_it_is_open_is_an_error_of_its_own(closed: Path) -> None:
    """What SQLite notices in use says that the tables are damaged; made anew, they go on."""
    store = opened(closed)
    with closed.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(TablesDamaged, match="rebuilt"):
        check(store)
    store.close()
    store = TableStore.open(closed, Stock(), LEDGER, discard=True)
    assert store.position == 0
    write_until(store, 50)
    check(store)
    store.close()


@pytest.mark.slow
def test_a_kill_leaves_a_position_and_rows_of_one_transaction(path: Path, is_long: bool) -> None:
    """SIGKILL at any moment of writing: rows and position agree, and nothing written is lost."""
    chance = random.Random(11)
    context = fork_server()
    written = 0
    for _ in range(KILLS if is_long else KILLS // _SAMPLED):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_write_and_tell, args=(path, sending))
        process.start()
        sending.close()
        wait([receiving, process.sentinel], timeout=60)
        process.join(chance.random() * 0.3)
        process.kill()
        process.join()
        process.close()
        while receiving.poll():
            try:
                written = receiving.recv()
            except EOFError:
                break
        receiving.close()
        store = opened(path)
        assert not store.was_made
        assert store.position >= written
        assert store.position % BATCH == 0
        check(store)
        store.close()
    assert written > 0


def _write_and_tell(path: Path, sending: Connection) -> None:
    store = opened(path)
    while True:
        write_until(store, store.position + BATCH)
        sending.send(store.position)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a file's size is Linux's here")
def test_a_full_disk_keeps_the_changes(path: Path) -> None:
    """If there is no room, the error says so, the layer keeps the changes, and they go in later."""
    receiving, sending = fork_server().Pipe(duplex=False)
    process = fork_server().Process(target=_write_into_a_full_disk, args=(path, sending))
    process.start()
    sending.close()
    assert receiving.recv() == "done"
    process.join()
    process.close()
    receiving.close()
    assert check_file(path, position=4_000) == 4_000


def _write_into_a_full_disk(path: Path, sending: Connection) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = opened(path)
    write_until(store, 500)
    layer = Layer(store, Stock.tables)
    for change in map(change_at, range(501, 4_001)):
        layer.position = change.position
        if change.entity is None:
            layer.remove("item", change.key)
        else:
            layer.put("item", change.entity)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    for _ in range(2):
        try:
            store.write(layer.changes, position=4_000, frame_sha256=frame_at(4_000))
        except TablesUnavailable as unavailable:
            assert "nothing is lost" in str(unavailable)  # noqa: PT017 - in a child process
        else:
            raise AssertionError("it was written into a full disk")
        assert store.position == 500
        check(store)
        assert layer.find("item", limit=IDS).items == tuple(
            item for _, item in sorted(rows_at(4_000).items())
        )
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.write(layer.changes, position=4_000, frame_sha256=frame_at(4_000))
    layer.forget(4_000)
    check(store)
    store.close()
    sending.send("done")
