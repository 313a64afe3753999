"""A mapped file that is cut short neither ends the process nor changes what is read."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from nostro import Ledger, verify
from nostro.journal.storage.files import Storage
from tests.descriptors import open_files
from tests.waiting import TIMEOUT_SECONDS

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="leases are a feature of Linux")

READING: Final = """
import subprocess, sys
from pathlib import Path
from nostro import Account, AccountFilter, AccountFilterFlags, Ledger, Transfer

path = Path(sys.argv[1])
ledger = Ledger.open(path)
ledger.create_accounts([Account(id=1, ledger=1, code=1), Account(id=2, ledger=1, code=1)])

def pay(first, last):
    return ledger.create_transfers([
        Transfer(id=id_, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1)
        for id_ in range(first, last)
    ])

for first in (1, 5_001):
    pay(first, first + 5_000)
    ledger.checkpoint()
files = sorted((path / "indexes").iterdir())
assert files
for file in files:
    subprocess.run([sys.executable, "-c", f"open({str(file)!r}, 'wb').close()"], check=True)
    assert file.stat().st_size == 0
assert len(ledger.lookup_transfers(range(1, 10_001))) == 10_000
found = ledger.get_account_transfers(
    AccountFilter(
        account_id=1, limit=8_000, flags=AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS
    )
)
assert len(found) == 8_000
assert {result.status.name for result in pay(9_999, 10_010)} == {"EXISTS", "CREATED"}
ledger.close()
print("whole")
"""


@linux_only
def test_a_file_that_is_cut_short_stays_readable(tmp_path: Path) -> None:
    """The one who cuts it waits until its pages are in memory."""
    data = os.urandom(1_000_003)
    path = tmp_path / "file"
    path.write_bytes(data)
    storage = Storage()
    fd = storage.open_read(path)
    mapped = storage.map(fd)
    storage.close(fd)
    view = np.frombuffer(mapped, np.uint8)
    cutting = threading.Thread(target=os.truncate, args=(path, 10))
    cutting.start()
    cutting.join(TIMEOUT_SECONDS)
    assert path.stat().st_size == 10
    assert view.tobytes() == data


@linux_only
def test_indexes_cut_short_under_a_running_ledger_change_no_answer(tmp_path: Path) -> None:
    """Another process empties every index file: look-ups, queries and writing go on."""
    path = tmp_path / "ledger"
    done = subprocess.run(
        [sys.executable, "-c", READING, path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr
    verify(path)
    with Ledger.open(path) as again:  # what was cut is made anew
        assert len(again.lookup_transfers(range(1, 10_010))) == 10_009


@linux_only
def test_leases_end_with_the_mapping(tmp_path: Path) -> None:
    """A file that nobody maps can be opened for writing at once, and no descriptor stays."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5_000)
    storage = Storage()
    before = open_files(tmp_path)
    for _ in range(20):
        fd = storage.open_read(path)
        mapped = storage.map(fd)
        storage.close(fd)
        mapped.close()
        del mapped
    path.write_bytes(b"y")
    assert open_files(tmp_path) == before
