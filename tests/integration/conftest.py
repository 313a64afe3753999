"""Shared by tests of whole commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from nostro import Account, Ledger


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A ledger with two accounts."""
    with Ledger.open(tmp_path / "books") as ledger:
        ledger.create_accounts([Account(id=n, ledger=1, code=1) for n in (1, 2)])
    return tmp_path / "books"
