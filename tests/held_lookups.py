"""A ledger whose look-ups of accounts take as long as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from nostro import Account, Ledger
from tests.waiting import TIMEOUT_SECONDS


class HeldLookups:
    """Holds every look-up of accounts until ``opened`` is set; ``entered`` is set by the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        lookup = Ledger.lookup_accounts

        def held(ledger: Ledger, ids: Iterable[int]) -> list[Account]:
            self.entered.set()
            assert self.opened.wait(TIMEOUT_SECONDS)
            return lookup(ledger, ids)

        # private: no look-up takes long enough to act during it
        monkeypatch.setattr(Ledger, "lookup_accounts", held)
