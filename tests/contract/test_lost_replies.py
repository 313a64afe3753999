"""A real server that carries requests out and is not heard: what the simulated one supposes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from nostro import (
    Account,
    AccountFlags,
    ClusterConfiguration,
    ClusterLedger,
    Transfer,
    TransferFlags,
)
from nostro.projections.tigerbeetle.errors import OutcomeUnknown
from tests.contract.conftest import BINARY, DEVELOPMENT_EVENTS_MAX, STARTING_SECONDS
from tests.contract.wire import Wire
from tests.differential.tigerbeetle_server import CLUSTER, running
from tests.simulated_cluster import Impatient

pytestmark = pytest.mark.slow
SOON: Final = 2.0
"""Seconds. An answer that is not lost comes sooner, and one that comes later is asked for again."""


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    """To a server that has started."""
    assert BINARY is not None
    with running(BINARY, tmp_path) as address, Wire(address) as opened:
        with ClusterLedger.open(configuration(address, STARTING_SECONDS)) as ledger:
            ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        yield opened


def configuration(address: str, seconds: float) -> ClusterConfiguration:
    return ClusterConfiguration(
        int(CLUSTER), (address,), timeout_seconds=seconds, batch_events_max=DEVELOPMENT_EVENTS_MAX
    )


def move(id_: int, flags: TransferFlags = TransferFlags.NONE) -> Transfer:
    return Transfer(
        id=id_, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1, flags=flags
    )


def test_what_was_carried_out_unheard_is_answered_as_created(wire: Wire) -> None:
    """With the time at which it was, once, chains too; what was there before exists."""
    chain = [move(12, TransferFlags.LINKED), move(13, TransferFlags.LINKED), move(14)]
    accounts = [Account(id=3, ledger=1, code=1, flags=AccountFlags.LINKED),
                Account(id=4, ledger=1, code=1)]  # fmt: skip
    with ClusterLedger.open(
        configuration(wire.address, SOON), sessions=1, attempts_max=20, breaker=Impatient
    ) as ledger:
        assert [it.status.name for it in ledger.create_transfers([move(10)])] == ["CREATED"]
        wire.losing = 2
        results = ledger.create_transfers([move(10), move(11), *chain, move(11)])
        assert wire.losing == 0
        assert [it.status.name for it in results] == ["EXISTS", *["CREATED"] * 4, "EXISTS"]
        found = ledger.lookup_transfers([10, 11, 12, 13, 14, 11])
        assert [it.timestamp for it in results] == [it.timestamp for it in found]
        wire.losing = 1
        assert [it.status.name for it in ledger.create_accounts(accounts)] == ["CREATED"] * 2
        [account] = ledger.lookup_accounts([1])
        assert account.debits_posted == 5


def test_what_is_never_heard_of_is_unknown_and_was_carried_out(wire: Wire) -> None:
    """Sending it again tells."""
    with ClusterLedger.open(
        configuration(wire.address, SOON), sessions=1, attempts_max=1, breaker=Impatient
    ) as ledger:
        wire.losing = 1
        with pytest.raises(OutcomeUnknown) as caught:
            ledger.create_transfers([move(11)])
        assert caught.value.ids == (11,)
    with ClusterLedger.open(configuration(wire.address, STARTING_SECONDS)) as ledger:
        assert [it.status.name for it in ledger.create_transfers([move(11)])] == ["EXISTS"]
