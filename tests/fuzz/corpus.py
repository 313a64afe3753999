"""The valid files that hostile ones are made of: one small ledger, always the same to the byte."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest import mock

import attrs
import numpy as np

from nostro import EventTree, Reader
from nostro.journal.evidence.proofs import Proof
from nostro.journal.evidence.root import Root
from nostro.journal.format.segment import SEGMENT_BYTES_MAX
from nostro.journal.model import TRANSFER, Account, AccountFlags, Transfer, TransferFlags
from nostro.journal.storage.directory import Directory
from nostro.projections.ledger.ledger import Ledger
from nostro.tools.exporting.json_lines import export_json_lines
from nostro.tools.exporting.selection import Selection
from tests.clocks import HandClock
from tests.command_records import Command, append, executed, recorded, transfer
from tests.crash.memory import Tree, taken

LEDGER_ID: Final = bytes(range(16))
_NOW: Final = 10**18
_SECOND: Final = 10**9
_TREE_EVENTS: Final = 4_200


@attrs.frozen
class Corpus:
    """What the ledger's writer and its tools have made."""

    folder: Path
    """For files that are read by their names; removed when the process ends."""
    path: Path
    """A real directory with real folders, and no files: for what a storage is not asked about."""
    files: Tree
    long: Tree
    """A ledger that is long enough for a kept tree."""
    roots: tuple[Root, ...]
    proofs: tuple[Proof, ...]
    export: bytes


def in_folder(tree: Tree, name: str, suffix: str = "") -> dict[str, bytes]:
    """The files of a folder, in order of their names."""
    folder = tree[name]
    assert isinstance(folder, dict)
    found = ((file, folder[file]) for file in sorted(folder) if file.endswith(suffix))
    return {file: content for file, content in found if isinstance(content, bytes)}


def file_in(tree: Tree, name: str) -> bytes:
    content = tree[name]
    assert isinstance(content, bytes)
    return content


@cache
def corpus() -> Corpus:
    """Made once for each process."""
    path = Path(tempfile.mkdtemp(prefix="nostro-fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    for name in Directory(path / "empty").folders:
        name.mkdir(parents=True, mode=0o700)
    (path / "empty").chmod(0o700)
    with _always_the_same():
        _write(path / "ledger")
        _write_long(path / "long")
    tree = EventTree(path / "ledger")
    roots = tuple(
        Root(tree.ledger_id, position, tree.root(position), datetime(2026, 1, 31, tzinfo=UTC))
        for position in (5, tree.position)
    )
    proofs = (
        tree.prove_inclusion(3),
        tree.prove_inclusion(tree.position),
        tree.prove_consistency(5),
    )
    exported: list[bytes] = []
    export_json_lines(Reader(path / "ledger"), exported.append, Selection())
    EventTree(path / "long").root()
    return Corpus(
        path,
        path / "empty",
        taken(path / "ledger"),
        taken(path / "long"),
        roots,
        proofs,
        b"".join(exported),
    )


@contextlib.contextmanager
def _always_the_same() -> Iterator[None]:
    with (
        mock.patch("os.urandom", return_value=LEDGER_ID),
        mock.patch("time.time_ns", return_value=_NOW),
    ):
        yield


def _write(path: Path) -> None:
    """A little of everything: pending, posted, voided, expired and refused transfers."""
    clock = HandClock(_NOW)
    ledger = Ledger.open(path, clock=clock, expiry_seconds=3_600)
    limit = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
    ledger.create_accounts(
        [Account(id=number, ledger=1, code=1, user_data_64=number) for number in range(1, 6)]
        + [Account(id=6 << 64, ledger=1, code=2, flags=limit | AccountFlags.HISTORY)]
    )
    ledger.create_transfers([_transfer(number) for number in range(1, 4)])
    ledger.create_transfers([_transfer(10, debit_account_id=6 << 64)])  # exceeds its credits
    ledger.create_transfers(
        [
            _transfer(20, flags=TransferFlags.PENDING),
            _transfer(21, flags=TransferFlags.PENDING),
            _transfer(22, flags=TransferFlags.PENDING, timeout=5),
            _transfer(23, flags=TransferFlags.PENDING, timeout=500),
        ]
    )
    ledger.checkpoint()
    ledger.create_transfers(
        [
            _transfer(30, pending_id=20, flags=TransferFlags.POST_PENDING_TRANSFER),
            _transfer(31, pending_id=21, flags=TransferFlags.VOID_PENDING_TRANSFER),
            _transfer(32, amount=2**100, user_data_128=2**90, user_data_32=7),
        ]
    )
    clock.now += 6 * _SECOND
    ledger.create_transfers([_transfer(number) for number in range(40, 70)])
    ledger.checkpoint()
    ledger.create_transfers([_transfer(100)])
    ledger.close()
    first: Command = (
        [Account(id=7, ledger=1, code=1)], [transfer(200, 5)], [recorded("a"), executed(4)],
    )  # fmt: skip
    append(path, [[first, ([], [transfer(201, 6)], [])]], segment_bytes_max=SEGMENT_BYTES_MAX)


def _transfer(number: int, **fields: Any) -> Transfer:  # noqa: ANN401  # any of a transfer's
    return Transfer(
        **{
            "id": number,
            "debit_account_id": 1 + number % 4,
            "credit_account_id": 2 + number % 4,
            "amount": number,
            "user_data_64": number % 7,
            "ledger": 1,
            "code": 1,
            **fields,
        }
    )


def _write_long(path: Path) -> None:
    ledger = Ledger.open(path, clock=HandClock(_NOW), expiry_seconds=3_600)
    ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
    rows = np.zeros(_TREE_EVENTS, TRANSFER)
    rows["id"][:, 0] = np.arange(1, _TREE_EVENTS + 1)
    rows["debit_account_id"][:, 0], rows["credit_account_id"][:, 0] = 1, 2
    rows["amount"][:, 0], rows["ledger"], rows["code"] = 1, 1, 1
    ledger.create_transfers(rows)
    ledger.close()
