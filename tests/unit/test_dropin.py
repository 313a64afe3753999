"""The stand-in for TigerBeetle's client: what a program written for it meets."""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import logging
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

import nostro.dropin as tigerbeetle
from nostro import Ledger, LedgerLocked, journal
from nostro.projections.dropin.bindings import tb_client_init_parameters
from nostro.projections.dropin.requests import BATCH_EVENTS_MAX
from nostro.projections.dropin.shared import open_ledgers
from tests.client_arguments import calls
from tests.held_lookups import HeldLookups
from tests.waiting import TIMEOUT_SECONDS, until

A: Final = tigerbeetle.Account
T: Final = tigerbeetle.Transfer
CREATED: Final = tigerbeetle.CreateAccountStatus.CREATED
TRANSFERRED: Final = tigerbeetle.CreateTransferStatus.CREATED


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ledgers of this test's clusters lie."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def client(data: Path) -> Iterator[tigerbeetle.ClientSync]:
    with tigerbeetle.ClientSync(cluster_id=0, replica_addresses="3000") as client:
        yield client


def accounts(*ids: int) -> list[tigerbeetle.Account]:
    return [A(id=id_, ledger=1, code=1) for id_ in ids]


def transfer(id_: int, amount: int = 10) -> tigerbeetle.Transfer:
    return T(id=id_, debit_account_id=1, credit_account_id=2, amount=amount, ledger=1, code=1)


def outcome_in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(call())
        except Exception as raised:  # noqa: BLE001 - the test looks at it
            outcomes.append(raised)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcomes


# --- a program's day ---


def test_a_program_runs(client: tigerbeetle.ClientSync) -> None:
    """Accounts, a transfer, refusals and look-ups are answered in the package's own classes."""
    created, again = client.create_accounts([*accounts(1), *accounts(1)])
    assert (created.status, again.status) == (CREATED, tigerbeetle.CreateAccountStatus.EXISTS)
    assert again.timestamp == created.timestamp > 0
    client.create_accounts(accounts(2))
    done, refused = client.create_transfers([transfer(1), transfer(1, amount=11)])
    assert type(done) is tigerbeetle.CreateTransferResult
    assert type(done.status) is tigerbeetle.CreateTransferStatus
    assert done.status == TRANSFERRED
    assert refused.status.name == "EXISTS_WITH_DIFFERENT_AMOUNT"
    assert client.lookup_accounts([2, 404, 1, 2]) == [
        found(2, client, credits_posted=10),
        found(1, client, debits_posted=10),
        found(2, client, credits_posted=10),
    ]
    [looked_up] = client.lookup_transfers([404, 1])
    assert looked_up == dataclasses.replace(transfer(1), timestamp=done.timestamp)
    assert type(looked_up.flags) is tigerbeetle.TransferFlags


def found(
    id_: int, client: tigerbeetle.ClientSync, *, debits_posted: int = 0, credits_posted: int = 0
) -> tigerbeetle.Account:
    [timestamp] = [it.timestamp for it in client.lookup_accounts([id_])]
    return A(
        id=id_,
        debits_posted=debits_posted,
        credits_posted=credits_posted,
        ledger=1,
        code=1,
        timestamp=timestamp,
    )


def test_what_was_written_is_there_for_the_next_client(data: Path) -> None:
    """Data outlives clients, in a directory that the ledger itself opens."""
    with tigerbeetle.ClientSync(0, "3000") as client:
        client.create_accounts(accounts(1, 2))
        client.create_transfers([transfer(1)])
    with tigerbeetle.ClientSync(0, "1.2.3.4:5") as client:
        assert [it.debits_posted for it in client.lookup_accounts([1])] == [10]
    with Ledger.open(data / "nostro-0", create=False) as ledger:
        assert ledger.position == 3


def test_objects_are_mutable_and_compare_by_value(client: tigerbeetle.ClientSync) -> None:
    """Programs fill them in field by field, copy, pickle and compare them."""
    one = tigerbeetle.Transfer()
    for name, value in dataclasses.asdict(transfer(7)).items():
        setattr(one, name, value)
    assert one == transfer(7)
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - ours
    with pytest.raises(AttributeError):
        one.amuont = 1  # type: ignore[attr-defined]
    client.create_accounts(accounts(1, 2))
    assert client.create_transfers([one])[0].status == TRANSFERRED
    one.amount = 11
    assert client.create_transfers([one])[0].status.name == "EXISTS_WITH_DIFFERENT_AMOUNT"


# --- arguments ---


def test_arguments_are_refused_before_anything_is_done(client: tigerbeetle.ClientSync) -> None:
    """A batch with one bad field is refused whole, with the error that names it."""
    with pytest.raises(tigerbeetle.IntegerOverflowError, match="code=65536"):
        client.create_accounts([*accounts(1), A(id=2, ledger=1, code=2**16)])
    with pytest.raises(tigerbeetle.IntegerOverflowError, match="negative"):
        client.create_transfers([transfer(-1)])
    with pytest.raises(tigerbeetle.IntegerOverflowError, match="ledger=-1"):
        client.create_accounts([A(id=1, ledger=-1, code=-1)])  # the first field comes first
    with pytest.raises(TypeError):
        client.create_accounts([A(id=1.5)])  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        client.create_accounts([transfer(1)])  # type: ignore[list-item]
    assert client.lookup_accounts([1, 2]) == []


def test_flags_and_ids_to_look_up_are_cut_to_their_width(client: tigerbeetle.ClientSync) -> None:
    """So the original does; an account with 17 bits of flags is created without the highest."""
    flags = 2**16 | tigerbeetle.AccountFlags.HISTORY
    [created] = client.create_accounts([A(id=1, ledger=1, code=1, flags=flags)])
    assert created.status == CREATED
    [account] = client.lookup_accounts([2**128 + 1])
    assert account.flags is tigerbeetle.AccountFlags.HISTORY
    minus = A(id=2, ledger=1, code=1, flags=-1)  # type: ignore[arg-type]
    assert client.create_accounts([minus])[0].status.name == "LINKED_EVENT_CHAIN_OPEN"


def test_a_request_holds_8189_events(client: tigerbeetle.ClientSync) -> None:
    """One more is too much to send and too much to ask for, and nothing is done."""
    assert BATCH_EVENTS_MAX == 8_189
    ids = range(1, BATCH_EVENTS_MAX + 2)
    with pytest.raises(tigerbeetle.TooMuchDataError):
        client.create_accounts(accounts(*ids))
    assert client.lookup_accounts([1]) == []
    assert len(client.create_accounts(accounts(*ids[:-1]))) == BATCH_EVENTS_MAX
    assert len(client.lookup_accounts(list(ids[:-1]))) == BATCH_EVENTS_MAX
    for refused in (
        lambda: client.lookup_accounts(list(ids)),
        lambda: client.lookup_transfers(list(ids)),
        lambda: client.create_transfers([transfer(id_) for id_ in ids]),
        lambda: client.get_account_transfers(account_filter(limit=BATCH_EVENTS_MAX + 1)),
        lambda: client.query_accounts(query_filter(limit=2**32 - 1)),
    ):
        with pytest.raises(tigerbeetle.TooMuchDataError):
            refused()


def test_the_widths_of_all_events_come_before_their_number(client: tigerbeetle.ClientSync) -> None:
    """A batch far too large with a bad field at its end is refused for the field."""
    with pytest.raises(tigerbeetle.IntegerOverflowError):
        client.create_accounts([*accounts(*range(1, 70_000)), A(id=-1)])


def test_an_empty_request_is_answered_with_nothing(client: tigerbeetle.ClientSync) -> None:
    """An empty list, or any other empty collection, is a request like others."""
    assert client.create_accounts([]) == []
    assert client.create_transfers([]) == []
    assert client.lookup_accounts([]) == []
    assert client.lookup_transfers([]) == []
    assert client.create_accounts(()) == []  # type: ignore[arg-type]


def account_filter(**fields: int) -> tigerbeetle.AccountFilter:
    by = tigerbeetle.AccountFilter(1, 0, 0, 0, 0, 0, 0, 10, tigerbeetle.AccountFilterFlags(3))
    return dataclasses.replace(by, **fields)  # type: ignore[arg-type]


def query_filter(**fields: int) -> tigerbeetle.QueryFilter:
    by = tigerbeetle.QueryFilter(0, 0, 0, 0, 0, 0, 0, 10, tigerbeetle.QueryFilterFlags.NONE)
    return dataclasses.replace(by, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "by", "answer", "expected"),
    [
        ("get_account_transfers", account_filter(flags=2**32 + 5), "Transfer", T),
        ("get_account_balances", account_filter(code=7), "Balance", tigerbeetle.AccountBalance),
        ("query_accounts", query_filter(ledger=9), "Account", A),
        ("query_transfers", query_filter(timestamp_min=5), "Transfer", T),
    ],
)
def test_filters_and_answers_of_queries_are_translated(
    client: tigerbeetle.ClientSync,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    by: tigerbeetle.AccountFilter | tigerbeetle.QueryFilter,
    answer: str,
    expected: type,
) -> None:
    """The ledger gets its own frozen filter, flags cut to 32 bits; its answer comes in ours."""
    of_ledger = {
        "Account": journal.Account(id=3, flags=journal.AccountFlags.HISTORY, timestamp=4),
        "Transfer": journal.Transfer(id=3, flags=journal.TransferFlags.LINKED, timestamp=4),
        "Balance": journal.AccountBalance(1, 2, 3, 4, 5),
    }[answer]
    got: list[Any] = []

    def answering(ledger: Ledger, filter: object) -> list[object]:
        got.append(filter)
        return [of_ledger]

    # private: only the ledger sees the filter that it gets
    monkeypatch.setattr(Ledger, method, answering)
    result: Any
    [result] = getattr(client, method)(by)
    for field in dataclasses.fields(result):
        assert getattr(result, field.name) == getattr(of_ledger, field.name)
    assert type(result) is expected
    for field in dataclasses.fields(by):
        if field.name != "flags":
            assert getattr(got[0], field.name) == getattr(by, field.name)
    assert got[0].flags == by.flags & 2**32 - 1
    assert type(got[0].flags).__name__ in ("AccountFilterFlags", "QueryFilterFlags")


# --- where the data lies ---


def test_each_cluster_has_a_directory_of_its_own(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named after the cluster, in $NOSTRO_DATA or else in the working directory."""
    with tigerbeetle.ClientSync(0, "1") as one, tigerbeetle.ClientSync(-1, "1") as other:
        one.create_accounts(accounts(1))
        assert other.lookup_accounts([1]) == []
    assert {path.name for path in data.iterdir()} == {"nostro-0", f"nostro-{2**128 - 1}"}
    here = data / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("NOSTRO_DATA")
    tigerbeetle.ClientSync(7, "1").close()
    monkeypatch.setenv("NOSTRO_DATA", "")
    tigerbeetle.ClientSync(8, "1").close()
    assert {path.name for path in here.iterdir()} == {"nostro-7", "nostro-8"}


def test_clients_of_a_cluster_share_its_ledger(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They see each other's writes at once; the last to close gives the directory free."""
    one = tigerbeetle.ClientSync(0, "1")
    other = tigerbeetle.ClientSync(0, "2")
    (data / "link").symlink_to(data)
    monkeypatch.setenv("NOSTRO_DATA", str(data / "link"))
    third = tigerbeetle.ClientSync(0, "3")
    one.create_accounts(accounts(1, 2))
    assert [it.id for it in other.lookup_accounts([1, 2])] == [1, 2]
    one.close()
    third.close()
    assert other.create_transfers([transfer(1)])[0].status == TRANSFERRED
    with pytest.raises(LedgerLocked):
        Ledger.open(data / "nostro-0")
    other.close()
    Ledger.open(data / "nostro-0").close()


def test_a_client_that_cannot_open_its_directory_says_why(data: Path) -> None:
    """The error is the ledger's, and the next attempt may succeed."""
    with Ledger.open(data / "nostro-0"), pytest.raises(LedgerLocked):
        tigerbeetle.ClientSync(0, "1")
    tigerbeetle.ClientSync(0, "1").close()


def test_many_threads_open_use_and_close_clients(data: Path) -> None:
    """However they come and go, every transfer is written once and the ledger ends closed."""
    with tigerbeetle.ClientSync(0, "1") as client:
        client.create_accounts(accounts(1, 2))
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(10):
                with tigerbeetle.ClientSync(0, "1") as client:
                    [result] = client.create_transfers([transfer(1 + thread * 10 + number)])
                    assert result.status == TRANSFERRED
        except BaseException as raised:  # noqa: BLE001 - the test looks at it
            failures.append(raised)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Ledger.open(data / "nostro-0") as ledger:
        assert ledger.transfer_count == 80


# --- closing ---


def test_a_closed_client_refuses_requests(client: tigerbeetle.ClientSync) -> None:
    """Each of the eight, empty and too large ones too; only bad arguments are noticed first."""
    closed = tigerbeetle.ClientSync(0, "1")
    closed.close()
    for method, argument in (
        ("create_accounts", []), ("create_accounts", accounts(1) * 9_000), ("create_transfers", []),
        ("lookup_accounts", [1]), ("lookup_transfers", [1]),
        ("get_account_transfers", account_filter()), ("get_account_balances", account_filter()),
        ("query_accounts", query_filter()), ("query_transfers", query_filter(limit=9_000)),
    ):  # fmt: skip
        with pytest.raises(tigerbeetle.ClientClosedError):
            getattr(closed, method)(argument)
    with pytest.raises(tigerbeetle.IntegerOverflowError):
        closed.create_accounts([A(id=-1)])
    with pytest.raises(KeyError):
        closed.close()
    assert client.create_accounts(accounts(1))[0].status == CREATED  # the other is still open


def test_leaving_the_block_closes(data: Path) -> None:
    """Also with an exception."""
    with pytest.raises(ZeroDivisionError), tigerbeetle.ClientSync(0, "1") as client:
        raise ZeroDivisionError
    with pytest.raises(tigerbeetle.ClientClosedError):
        client.lookup_accounts([1])
    Ledger.open(data / "nostro-0").close()


def test_closing_ends_what_is_under_way(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of other threads raise, and close() returns when none uses the ledger any more."""
    held = HeldLookups(monkeypatch)
    client = tigerbeetle.ClientSync(0, "1")
    asking, answers = outcome_in_thread(lambda: client.lookup_accounts([1]))
    assert held.entered.wait(TIMEOUT_SECONDS)
    closing, closed = outcome_in_thread(client.close)
    until(lambda: not client._client.is_open)  # private: nothing else shows that close() has begun
    with pytest.raises(tigerbeetle.ClientClosedError):
        client.create_accounts(accounts(1))
    closing.join(0.05)
    assert closing.is_alive()
    with pytest.raises(LedgerLocked):
        Ledger.open(data / "nostro-0")
    held.opened.set()
    asking.join()
    closing.join()
    assert [type(answer) for answer in answers] == [tigerbeetle.ClientClosedError]
    assert closed == [None]
    assert client._inflight_packets == {}  # private: TigerBeetle's client has this name, too
    Ledger.open(data / "nostro-0").close()


def test_a_signal_handler_may_close_the_client_it_interrupts(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the request that waits for it."""
    client = tigerbeetle.ClientSync(0, "1")

    def handle(number: int, frame: FrameType | None) -> None:
        client.close()

    lookup = Ledger.lookup_accounts

    def interrupted(ledger: Ledger, ids: Iterable[int]) -> list[journal.Account]:
        found = lookup(ledger, ids)
        signal.raise_signal(signal.SIGUSR1)
        return found

    # private: the signal must arrive during a look-up
    monkeypatch.setattr(Ledger, "lookup_accounts", interrupted)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with pytest.raises(tigerbeetle.ClientClosedError):
            client.lookup_accounts([1])
    finally:
        signal.signal(signal.SIGUSR1, before)
    Ledger.open(data / "nostro-0").close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_no_open_client(data: Path) -> None:
    """The parent's clients are closed there, and closing one closes no other's ledger."""
    clients = tigerbeetle.ClientSync(0, "1"), tigerbeetle.ClientSync(0, "1")
    may_open_read, may_open_write = os.pipe()
    tried_read, tried_write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.raises(tigerbeetle.ClientClosedError):
                clients[0].create_accounts(accounts(1))
            with pytest.raises(LedgerLocked):
                tigerbeetle.ClientSync(0, "1")
            os.write(tried_write, b".")
            os.read(may_open_read, 1)
            with tigerbeetle.ClientSync(0, "1") as own:
                clients[0].close()
                assert own.lookup_accounts([1])[0].id == 1
                tigerbeetle.ClientSync(0, "1").close()
            Ledger.open(data / "nostro-0").close()
            code = 0
        finally:
            os._exit(code)
    os.close(tried_write)
    os.read(tried_read, 1)
    assert clients[1].create_accounts(accounts(1))[0].status == CREATED
    for client in clients:
        client.close()
    os.write(may_open_write, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for pipe in (may_open_read, may_open_write, tried_read):
        os.close(pipe)


def test_no_ledger_is_left_open(data: Path) -> None:
    """Every test before this one has given its ledgers back."""
    assert open_ledgers._by_path == {}  # private: a ledger left in it would stay open


# --- the rest of the package ---


def test_what_a_client_was_made_with_can_be_asked_for(client: tigerbeetle.ClientSync) -> None:
    """Cluster, a client id that is not zero, and the addresses; nothing of a closed client."""
    out = tigerbeetle.InitParameters()
    # private: TigerBeetle's client has this name, too
    status = tb_client_init_parameters(client._client, ctypes.byref(out))
    assert status is tigerbeetle.ClientStatus.OK
    assert out.cluster_id.to_python() == 0
    assert out.client_id.to_python() != 0
    assert ctypes.string_at(out.addresses_ptr, out.addresses_len) == b"3000"
    closed = tigerbeetle.ClientSync(1, "1")
    closed.close()
    # private: TigerBeetle's client has this name, too
    assert tb_client_init_parameters(closed._client, ctypes.byref(out)) == (
        tigerbeetle.ClientStatus.INVALID
    )


def test_messages_go_to_the_logger(caplog: pytest.LogCaptureFixture, data: Path) -> None:
    """The logger is called tigerbeetle; it learns where the data lies, and DEBUG if asked to."""
    caplog.set_level(logging.DEBUG, "tigerbeetle")
    try:
        tigerbeetle.configure_logging(debug=False)
        tigerbeetle.ClientSync(0, "1").close()
        levels = [record.levelno for record in caplog.records]
        assert levels == [logging.INFO]
        assert str(data / "nostro-0") in caplog.messages[0]
        tigerbeetle.configure_logging(debug=True)
        tigerbeetle.ClientSync(0, "1").close()
        assert [record.levelno for record in caplog.records[1:]] == [logging.INFO, logging.DEBUG]
    finally:
        tigerbeetle.configure_logging(debug=True)


@pytest.mark.parametrize("decorate", [tigerbeetle.LogHandler, lambda function: function])
def test_messages_go_to_a_handler(decorate: Callable[[Any], Any], data: Path) -> None:
    """It gets level, address and length, whether or not it was made by LogHandler."""
    seen: list[tuple[int, bytes]] = []

    @decorate
    def handler(level: int, message_ptr: int, message_len: int) -> None:
        seen.append((level, ctypes.string_at(message_ptr, message_len)))

    try:
        tigerbeetle.configure_logging(debug=True, handler=handler)
        tigerbeetle.ClientSync(0, "1").close()
    finally:
        tigerbeetle.configure_logging(debug=True)
    assert [level for level, _ in seen] == [tigerbeetle.LogLevel.INFO, tigerbeetle.LogLevel.DEBUG]
    assert seen[1][1].endswith(b": closed")


def test_every_odd_argument_is_answered_or_refused_in_a_known_way(
    client: tigerbeetle.ClientSync,
) -> None:
    """No argument makes the ledger's own errors show, and none leaves a request under way."""
    known = {"IntegerOverflowError", "TooMuchDataError", "TypeError", "AttributeError"}
    for method, argument in calls(tigerbeetle):
        raised = None
        try:
            getattr(client, method)(argument)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            raised = type(error).__name__
        assert raised is None or raised in known, (method, argument)
    assert client._inflight_packets == {}  # private: TigerBeetle's client has this name, too
