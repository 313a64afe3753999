"""A request is done to its end, whatever signal arrives meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from nostro import Account, Ledger, Transfer, WriterPoisoned, audit
from nostro.projections.pipeline.signals import uninterrupted
from tests.disks import HeldDisk
from tests.waiting import TIMEOUT_SECONDS

ONE = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)
_Handler = Callable[[int, FrameType | None], None]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Python's own handler for Ctrl-C: a process in the background is started without it."""
    with handler_of(signal.SIGINT, signal.default_int_handler):
        yield


@contextmanager
def handler_of(number: int, handler: _Handler) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_handler_runs_once_the_call_is_done() -> None:
    """Not in the middle, once for each time it was called, and with its signal's number."""
    order: list[str] = []

    def call() -> str:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        order.append("done")
        return "answer"

    with handler_of(signal.SIGUSR1, lambda number, _: order.append(signal.Signals(number).name)):
        assert uninterrupted(call) == "answer"
    assert order == ["done", "SIGUSR1", "SIGUSR1"]


def test_handlers_are_put_back() -> None:
    """After the call, and after one that raises, every handler is what it was."""
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    assert signal.default_int_handler in before
    uninterrupted(lambda: None)
    with pytest.raises(ZeroDivisionError):
        uninterrupted(lambda: 1 // 0)
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before


def test_a_call_within_a_call_waits_for_the_outer_one() -> None:
    """The end of the inner call does not let a handler into the outer one."""
    order: list[str] = []

    def outer() -> None:
        uninterrupted(signal.raise_signal, signal.SIGUSR1)
        order.append("outer")

    with handler_of(signal.SIGUSR1, lambda *_: order.append("handler")):
        uninterrupted(outer)
    assert order == ["outer", "handler"]


def test_every_handler_runs_though_one_raises() -> None:
    """What is raised first does not keep the next signal from being seen."""
    seen: list[str] = []

    def call() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGUSR1)

    with (
        handler_of(signal.SIGUSR1, lambda *_: seen.append("USR1")),
        pytest.raises(KeyboardInterrupt),
    ):
        uninterrupted(call)
    assert seen == ["USR1"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_changed_meanwhile_is_seen_the_next_time() -> None:
    """Handlers are looked up again for each call."""
    order: list[str] = []

    def call() -> None:
        signal.raise_signal(signal.SIGUSR2)
        order.append("done")

    for name in ("first", "second"):
        with handler_of(signal.SIGUSR2, lambda *_, name=name: order.append(name)):
            uninterrupted(call)
    assert order == ["done", "first", "done", "second"]


def test_other_threads_just_call() -> None:
    """Only the main thread runs handlers, and only there can they be replaced."""
    answers: list[object] = []
    other = threading.Thread(target=lambda: answers.append(uninterrupted(threading.get_ident)))
    other.start()
    other.join()
    assert answers == [other.ident]


def test_an_interrupted_request_is_finished_all_the_same(tmp_path: Path) -> None:
    """A Ctrl-C while the disk works costs the answer; state and journal still agree."""
    disk = HeldDisk()
    ledger = Ledger.open(tmp_path / "ledger", storage=disk)
    ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
    disk.hold()

    def interrupt() -> None:
        assert disk.arrived.wait(TIMEOUT_SECONDS)
        signal.raise_signal(signal.SIGINT)
        disk.release()

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        ledger.create_transfers([ONE])
    interrupter.join()
    assert ledger.position == 3
    [account] = ledger.lookup_accounts([2])
    assert account.credits_posted == 10
    ledger.close()
    report = audit(tmp_path / "ledger")
    assert report.passed
    assert report.transfers == 1


@pytest.mark.parametrize(
    "step",
    [
        "nostro.projections.deciding.frontier.Frontier.take",
        "nostro.projections.state.ledger_state.LedgerState.apply",
    ],
)
def test_a_request_that_cannot_be_finished_poisons_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Out of memory between journal and balances: nothing more is answered from half a state."""
    ledger = Ledger.open(tmp_path / "ledger")
    ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(step, fail)  # private: nothing else runs out of memory just there
        with pytest.raises(MemoryError):  # noqa: PT012 - durable at the first, folded in later
            ledger.create_transfers([ONE])
            ledger.lookup_accounts([1])
    with pytest.raises(WriterPoisoned, match="MemoryError"):
        ledger.create_transfers([ONE])
    ledger.close()
    assert audit(tmp_path / "ledger").passed
