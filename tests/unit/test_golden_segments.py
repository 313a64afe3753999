"""Ledgers that older versions wrote: read as they were, and gone on with in the newest format."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from nostro import Account, EventTree, Ledger, Reader, Transfer, backup, restore, verify
from nostro.journal.format.segment import (
    FORMAT_VERSION,
    decode_segment_header,
    encode_segment_header,
)
from tests.documents import ROOT
from tests.integration.test_cli import good

GOLDEN: Final = ROOT / "tests/data/format-1"
EXPECTED: Final[dict[str, Any]] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))


@pytest.fixture
def books(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "books", tmp_path / "books"))


def versions(books: Path) -> list[int]:
    """The format versions of the segments, in order."""
    paths = sorted((books / "segments").iterdir())
    return [decode_segment_header(path.read_bytes()[:512], path=path).version for path in paths]


def check_accounts(ledger: Ledger, position: int | None = None) -> None:
    at = ledger if position is None else ledger.at(position=position)
    found = at.lookup_accounts([int(account["id"]) for account in EXPECTED["accounts"]])
    shown = [
        {name: str(int(getattr(account, name))) for name in expected}
        for account, expected in zip(found, EXPECTED["accounts"], strict=True)
    ]
    assert shown == EXPECTED["accounts"]


def test_version_1_is_read_as_it_was(books: Path) -> None:
    """Events, balances, the Merkle root and the export are those of the version that wrote it."""
    assert verify(books, decode=True).position == EXPECTED["position"]
    with Ledger.open(books, read_only=True) as ledger:
        assert (ledger.position, ledger.transfer_count) == (
            EXPECTED["position"], EXPECTED["transfer_count"],
        )  # fmt: skip
        check_accounts(ledger)
        assert [it.id for it in ledger.lookup_transfers([2**90 + 599])] == [2**90 + 599]
    assert EventTree(books).root().hex() == EXPECTED["root"]
    exported = good("export", books, "-q").encode()
    assert hashlib.sha256(exported).hexdigest() == EXPECTED["export_sha256"]


def test_version_1_goes_on_in_a_new_segment(books: Path) -> None:
    """The old segments keep their bytes; the next record begins a segment of this version."""
    before = {path.name: path.read_bytes() for path in (books / "segments").iterdir()}
    assert versions(books) == [1, 1, 1]
    with Ledger.open(books) as ledger:
        ledger.create_accounts([Account(id=500, ledger=978, code=1)])
        ledger.create_transfers([Transfer(id=2**99, debit_account_id=500, credit_account_id=1,
                                          amount=1, ledger=978, code=1)])  # fmt: skip
        check_accounts(ledger, EXPECTED["position"])
    assert versions(books) == [1, 1, 1, FORMAT_VERSION]
    after = {path.name: path.read_bytes() for path in (books / "segments").iterdir()}
    assert {name: after[name] for name in before} == before
    assert verify(books, decode=True).position == EXPECTED["position"] + 2
    assert [it.kind for it in Reader(books).records()][-2:] == [1, 2]
    backup(books, books.parent / "copy")
    restore(books.parent / "copy", books.parent / "again")
    with Ledger.open(books.parent / "again") as ledger:
        check_accounts(ledger, EXPECTED["position"])


def test_an_empty_ledger_of_version_1_goes_on(books: Path) -> None:
    """Its only segment has no frame, so that no second one could have another name."""
    path = books.parent / "empty"
    Ledger.open(path).close()
    segment = next((path / "segments").iterdir())
    header = decode_segment_header(segment.read_bytes()[:512], path=segment)
    segment.write_bytes(encode_segment_header(attrs.evolve(header, version=1)))
    assert versions(path) == [1]
    with Ledger.open(path) as ledger:
        ledger.create_accounts([Account(id=1, ledger=1, code=1)])
    assert versions(path) == [FORMAT_VERSION]
    assert verify(path, decode=True).position == 1
