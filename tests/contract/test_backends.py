"""Which backends the tests here hold to the contract, and what type checkers say of them."""

from __future__ import annotations

import pytest

from nostro import ClusterLedger, Ledger, LedgerClient
from tests.contract.conftest import BACKENDS, BINARY

CLIENTS: tuple[type[LedgerClient], ...] = (Ledger, ClusterLedger)


def test_a_real_cluster_is_held_to_the_contract() -> None:
    """All of them, where there is a server to start."""
    if BINARY is None:
        pytest.skip(
            "needs the package tigerbeetle, and the server: none on PATH or in TIGERBEETLE_BINARY"
        )
    assert "tigerbeetle" in BACKENDS
