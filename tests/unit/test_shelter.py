"""What the main thread asks for is done to its end, whatever signal arrives meanwhile."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from journal import Account, Transfer
from projections import Ledger, audit
from projections.shelter import Shelter
from tests.disks import HeldDisk
from tests.waiting import TIMEOUT_SECONDS, until

ONE = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)


def test_the_main_thread_waits_and_another_works() -> None:
    """Calls of the main thread run elsewhere; calls of other threads stay where they are."""
    shelter = Shelter()
    main = threading.current_thread()
    assert shelter.run(threading.current_thread) is not main
    seen: list[bool] = []

    def call() -> None:
        seen.append(shelter.run(threading.current_thread) is threading.current_thread())

    other = threading.Thread(target=call)
    other.start()
    other.join()
    assert seen == [True]
    shelter.close()
    shelter.close()


def test_what_is_raised_there_is_raised_here() -> None:
    """An exception of the call reaches its caller, and the next call works."""
    shelter = Shelter()
    with pytest.raises(ZeroDivisionError):
        shelter.run(lambda: 1 // 0)
    assert shelter.run(lambda: 7) == 7
    shelter.close()


def test_an_interrupted_request_is_finished_all_the_same(tmp_path: Path) -> None:
    """A Ctrl-C while the disk works costs the answer; state and journal still agree."""
    disk = HeldDisk()
    ledger = Ledger.open(tmp_path / "ledger", storage=disk)
    ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
    disk.hold()

    def interrupt() -> None:
        assert disk.arrived.wait(TIMEOUT_SECONDS)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        ledger.create_transfers([ONE])
    interrupter.join()
    disk.release()
    until(lambda: ledger.position == 3)
    [account] = ledger.lookup_accounts([2])
    assert account.credits_posted == 10
    ledger.close()
    report = audit(tmp_path / "ledger")
    assert report.passed
    assert report.transfers == 1
