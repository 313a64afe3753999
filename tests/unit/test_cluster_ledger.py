"""A ledger in a cluster that loses requests, replies and sessions: what is answered nonetheless."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    Account,
    AccountFlags,
    ClusterLedger,
    InvalidField,
    LedgerClosed,
    Transfer,
    TransferFlags,
)
from nostro.journal.rows import transfer_rows
from nostro.projections.tigerbeetle.errors import (
    ChainTooLong,
    ClusterUnreachable,
    ConnectionFailed,
    HostUnknown,
    OutcomeUnknown,
    RequestRefused,
)
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.breaker import Breaker
from tests.simulated_cluster import Fault, Impatient, SimulatedCluster, configuration
from tests.waiting import TIMEOUT_SECONDS, until

A, B, POOR = 1, 2, 3
LINKED: Final = TransferFlags.LINKED
SOON: Final = 0.02
"""Seconds. Only what gets no answer at all takes so long."""
LOSSES: Final = (
    Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.ARRIVE_LATE, Fault.EVICT_BEFORE, Fault.EVICT_AFTER,
)  # fmt: skip
UNTOLD: Final = (Fault.LOSE_REPLY, Fault.EVICT_AFTER)
"""It was carried out, and nobody was told."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SimulatedCluster]:
    """With three accounts, one of which may not owe anything."""
    with SimulatedCluster(tmp_path) as opened:
        poor = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
        opened.ledger.create_accounts(
            [
                Account(id=A, ledger=1, code=1),
                Account(id=B, ledger=1, code=1),
                Account(id=POOR, ledger=1, code=1, flags=poor),
            ]
        )
        yield opened


def connected(cluster: SimulatedCluster, **options: Any) -> ClusterLedger:  # noqa: ANN401
    """Whose attempts time out soon, and follow on each other at once."""
    seconds = options.pop("timeout_seconds", SOON)
    events_max = options.pop("batch_events_max", cluster.batch_events_max)
    return ClusterLedger.open(
        configuration(timeout_seconds=seconds, batch_events_max=events_max),
        connect=cluster.connect, **{"breaker": Impatient, **options},
    )  # fmt: skip


def move(id_: int, **fields: Any) -> Transfer:  # noqa: ANN401
    given: dict[str, Any] = {
        "id": id_, "debit_account_id": A, "credit_account_id": B, "amount": 1, "ledger": 1,
        "code": 1,
    }  # fmt: skip
    return Transfer(**{**given, **fields})


def chain(*ids: int) -> list[Transfer]:
    """Linked transfers with these ids."""
    *others, last = ids
    return [move(id_, flags=LINKED) for id_ in others] + [move(last)]


def statuses(ledger: ClusterLedger, *transfers: Transfer) -> list[str]:
    return [result.status.name for result in ledger.create_transfers(transfers)]


def spent(cluster: SimulatedCluster) -> int:
    """What A was debited, according to the cluster."""
    [account] = cluster.ledger.lookup_accounts([A])
    return account.debits_posted


def in_thread(
    call: Callable[[], object],
) -> tuple[threading.Thread, list[BaseException]]:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, caught


# --- sent again ---


@pytest.mark.parametrize("fault", LOSSES)
def test_what_had_to_be_sent_again_is_answered_as_if_it_had_not(
    cluster: SimulatedCluster, fault: Fault
) -> None:
    """Created once, and answered as created, with the time at which it was."""
    with connected(cluster) as ledger:
        cluster.faults.extend([fault, fault])
        results = ledger.create_transfers([move(11), move(12), move(13, code=0)])
        assert [it.status.name for it in results] == [
            "CREATED", "CREATED", "CODE_MUST_NOT_BE_ZERO",
        ]  # fmt: skip
        found = cluster.ledger.lookup_transfers([11, 12])
        assert [it.timestamp for it in results[:2]] == [it.timestamp for it in found]
        cluster.faults.append(fault)
        accounts = [Account(id=21, ledger=1, code=1), Account(id=A, ledger=1, code=1)]
        assert [it.status.name for it in ledger.create_accounts(accounts)] == ["CREATED", "EXISTS"]
        cluster.faults.append(fault)
        assert [it.id for it in ledger.lookup_accounts([21, A])] == [21, A]
        assert spent(cluster) == 2
        assert len(cluster.sessions) == 1 + 4
        assert cluster.sessions_open == 1


@pytest.mark.parametrize("fault", LOSSES)
def test_what_was_there_before_exists_however_often_it_is_sent(
    cluster: SimulatedCluster, fault: Fault
) -> None:
    """A second sending does not take the credit for what another request created."""
    with connected(cluster) as ledger:
        assert statuses(ledger, move(11), *chain(12, 13)) == ["CREATED"] * 3
        assert statuses(ledger, move(11)) == ["EXISTS"]
        cluster.faults.append(fault)
        assert statuses(ledger, move(11), move(14)) == ["EXISTS", "CREATED"]
        cluster.faults.append(fault)
        assert statuses(ledger, *chain(12, 13)) == ["EXISTS", "LINKED_EVENT_FAILED"]
        cluster.ledger.create_transfers([move(15)])
        assert statuses(ledger, move(15)) == ["EXISTS"]  # somebody else's, since our last answer
        cluster.faults.append(fault)
        different = attrs.evolve(move(11), amount=7)
        assert statuses(ledger, different) == ["EXISTS_WITH_DIFFERENT_AMOUNT"]


@pytest.mark.parametrize("fault", LOSSES)
def test_only_the_first_of_two_twins_was_created(cluster: SimulatedCluster, fault: Fault) -> None:
    """Whichever sending it was that created them."""
    with connected(cluster) as ledger:
        cluster.faults.append(fault)
        assert statuses(ledger, move(11), move(12), move(11)) == ["CREATED", "CREATED", "EXISTS"]


@pytest.mark.parametrize("fault", LOSSES)
def test_a_chain_that_had_to_be_sent_again_is_settled_by_looking_it_up(
    cluster: SimulatedCluster, fault: Fault
) -> None:
    """It breaks at its first member the second time, and was created all the same."""
    pending = move(15, flags=TransferFlags.PENDING, amount=5)
    post = Transfer(id=16, pending_id=15, flags=LINKED | TransferFlags.POST_PENDING_TRANSFER,
                    amount=2**128 - 1)  # fmt: skip
    with connected(cluster) as ledger:
        assert statuses(ledger, pending) == ["CREATED"]
        cluster.faults.append(fault)
        broken = [move(17, flags=LINKED), move(18, code=0)]
        results = ledger.create_transfers([move(11), *chain(12, 13, 14), post, move(19), *broken])
        assert [it.status.name for it in results] == [
            *["CREATED"] * 6, "LINKED_EVENT_FAILED", "CODE_MUST_NOT_BE_ZERO",
        ]  # fmt: skip
        found = cluster.ledger.lookup_transfers([11, 12, 13, 14, 16, 19])
        assert [it.timestamp for it in results[:6]] == [it.timestamp for it in found]
        assert spent(cluster) == 10
        linked = [Account(id=31, ledger=1, code=1, flags=AccountFlags.LINKED),
                  Account(id=32, ledger=1, code=1)]  # fmt: skip
        cluster.faults.append(fault)
        assert [it.status.name for it in ledger.create_accounts(linked)] == ["CREATED"] * 2


@pytest.mark.parametrize(
    "others",
    [
        [move(11, flags=LINKED), move(99)],
        [move(11, flags=LINKED), move(12, amount=2)],
        [move(11, flags=LINKED), move(12, user_data_64=1)],
        [move(11, flags=LINKED), move(99, flags=LINKED), move(12)],
    ],
    ids=["not all of it", "another amount", "other data", "not side by side"],
)
def test_a_chain_of_somebody_else_is_not_taken_for_ours(
    cluster: SimulatedCluster, others: list[Transfer]
) -> None:
    """What another client created meanwhile under one of the ids does not answer for the chain."""
    with connected(cluster) as ledger:
        made = cluster.ledger.create_transfers(others)
        assert {it.status.name for it in made} == {"CREATED"}
        cluster.faults.append(Fault.LOSE_REQUEST)
        assert statuses(ledger, *chain(11, 12)) == ["EXISTS", "LINKED_EVENT_FAILED"]


def test_why_something_was_refused_for_good_is_lost_with_the_answer(
    cluster: SimulatedCluster,
) -> None:
    """That it moved nothing, and never will, is still certain."""
    with connected(cluster) as ledger:
        cluster.faults.append(Fault.LOSE_REPLY)
        assert statuses(ledger, move(11, debit_account_id=POOR)) == ["ID_ALREADY_FAILED"]


def test_what_the_caller_does_to_its_rows_meanwhile_is_not_sent(cluster: SimulatedCluster) -> None:
    """The second sending is the same as the first."""
    rows = transfer_rows([move(11)]).copy()
    with connected(cluster) as ledger:
        cluster.before_reply = lambda: rows["amount"].fill(7)
        cluster.faults.append(Fault.LOSE_REPLY)
        assert ledger.create_transfers(rows)["status"].tolist() == [0xFFFFFFFF]
    assert spent(cluster) == 1


# --- not answered ---


@pytest.mark.parametrize("fault", LOSSES)
def test_what_is_never_answered_is_unknown_and_named(
    cluster: SimulatedCluster, fault: Fault
) -> None:
    """After so many attempts; sending it again later says what became of it."""
    with connected(cluster, attempts_max=3) as ledger:
        cluster.requests.clear()
        cluster.faults.extend([fault] * 3)
        with pytest.raises(
            OutcomeUnknown, match=r"transfers 11, 12 .*again with the same ids"
        ) as caught:
            ledger.create_transfers([move(11), move(12)])
        error = caught.value
        assert (error.kind, error.row, error.ids, len(error.results)) == (
            "transfers",
            0,
            (11, 12),
            0,
        )
        assert isinstance(error.cause, ConnectionFailed)
        assert cluster.requests == [(Operation.CREATE_TRANSFERS, 2)] * 3
        created = bool(cluster.ledger.lookup_transfers([11]))
        assert created == (fault in UNTOLD)
        expected = "EXISTS" if created else "CREATED"
        assert statuses(ledger, move(11), move(12)) == [expected] * 2
        cluster.faults.extend([fault] * 3)
        with pytest.raises(ConnectionFailed) as of_reading:
            ledger.lookup_accounts([A])
        assert not isinstance(of_reading.value, OutcomeUnknown)


def test_an_interrupted_request_tells_what_was_answered(cluster: SimulatedCluster) -> None:
    """Messages before the lost one have answers, and none after it was sent."""
    with connected(cluster, batch_events_max=3, attempts_max=2) as ledger:
        cluster.faults.extend([Fault.NONE, Fault.LOSE_REPLY, Fault.LOSE_REPLY])
        with pytest.raises(OutcomeUnknown) as caught:
            ledger.create_transfers([move(id_) for id_ in range(11, 21)])
        error = caught.value
        assert (error.row, error.ids) == (3, (14, 15, 16))
        assert error.results["status"].tolist() == [0xFFFFFFFF] * 3
        found = cluster.ledger.lookup_transfers(range(11, 21))
        assert [it.id for it in found] == [11, 12, 13, 14, 15, 16]
        cluster.faults.extend([Fault.NONE, Fault.REFUSE])
        with pytest.raises(OutcomeUnknown, match="only the first 3 rows were sent") as refused:
            ledger.create_transfers([move(id_) for id_ in range(31, 38)])
        assert (refused.value.row, refused.value.ids) == (3, ())


def test_what_was_not_sent_at_all_is_not_unknown(cluster: SimulatedCluster) -> None:
    """A name that cannot be looked up says so; after a request was lost, that comes first."""
    unknown = HostUnknown("there:3001", "not known")
    cluster.faults.extend([unknown] * 3)
    with pytest.raises(HostUnknown):
        connected(cluster)
    with connected(cluster) as ledger:
        cluster.faults.extend([Fault.LOSE_REPLY, unknown, unknown])
        with pytest.raises(OutcomeUnknown, match="there:3001"):
            ledger.create_transfers([move(11)])
        cluster.faults.extend([unknown] * 3)
        with pytest.raises(HostUnknown):
            ledger.create_transfers([move(12)])


def test_a_request_that_cannot_be_carried_out_is_tried_once(cluster: SimulatedCluster) -> None:
    """Trying again does not help, and the session is as good as before."""
    with connected(cluster) as ledger:
        cluster.requests.clear()
        cluster.faults.append(Fault.REFUSE)
        with pytest.raises(RequestRefused):
            ledger.create_transfers([move(11)])
        assert len(cluster.requests) == len(cluster.sessions) == 1
        assert statuses(ledger, move(11)) == ["CREATED"]


def test_a_cluster_that_does_not_answer_is_not_opened(cluster: SimulatedCluster) -> None:
    """And no session is left behind."""
    cluster.faults.extend([Fault.LOSE_REQUEST] * 2)
    with pytest.raises(ClusterUnreachable, match="cannot be reached, or its id is not 0"):
        connected(cluster, attempts_max=2)
    assert len(cluster.sessions) == 2
    assert cluster.sessions_open == 0
    cluster.faults.append(Fault.REFUSE)
    with pytest.raises(RequestRefused):
        connected(cluster)
    assert cluster.sessions_open == 0


# --- more than a message takes ---


def test_a_request_is_parted_between_chains(cluster: SimulatedCluster) -> None:
    """In order, each message as full as it can be, an open chain last."""
    cluster.batch_events_max = 4
    with connected(cluster) as ledger:
        cluster.requests.clear()
        sent = [move(11), *chain(12, 13, 14), move(15), *chain(16, 17, 18, 19), move(20)]
        assert statuses(ledger, *sent, move(21, flags=LINKED)) == [
            *["CREATED"] * 10, "LINKED_EVENT_CHAIN_OPEN",
        ]  # fmt: skip
        assert [count for _, count in cluster.requests] == [4, 1, 4, 2]
        wanted = [*range(11, 21), 404, *range(11, 21)]
        found = ledger.lookup_transfers(wanted)
        assert [it.id for it in found] == [id_ for id_ in wanted if id_ != 404]


def test_a_request_that_cannot_be_parted_is_not_begun(cluster: SimulatedCluster) -> None:
    """A chain is one step, and a message imports all or nothing."""
    cluster.batch_events_max = 4
    with connected(cluster) as ledger:
        cluster.requests.clear()
        with pytest.raises(ChainTooLong) as caught:
            ledger.create_transfers([move(11), *chain(12, 13, 14, 15, 16), move(17)])
        assert (caught.value.row, caught.value.count_max) == (1, 4)
        imported = [move(id_, flags=TransferFlags.IMPORTED, timestamp=id_) for id_ in (11, 12, 13)]
        with pytest.raises(InvalidField, match=r"row 3: .* imported and other events"):
            ledger.create_transfers([*imported, move(14), move(15)])
        assert cluster.requests == []


# --- sessions ---


def test_callers_share_a_few_sessions(cluster: SimulatedCluster) -> None:
    """Another is opened only while all are busy, and never more than there may be."""
    with connected(cluster, sessions=2, timeout_seconds=TIMEOUT_SECONDS) as ledger:
        for id_ in range(11, 21):
            assert statuses(ledger, move(id_)) == ["CREATED"]
        assert len(cluster.sessions) == 1
        waiting = []
        for number in range(1, 4):
            cluster.faults.append(Fault.LOSE_REQUEST)
            waiting.append(in_thread(lambda: ledger.lookup_accounts([A])))
            until(lambda: sum(len(it.lost) for it in cluster.sessions) == number)  # noqa: B023
        assert sorted(len(session.lost) for session in cluster.sessions) == [1, 2]
    for thread, _ in waiting:
        thread.join(TIMEOUT_SECONDS / 2)
        assert not thread.is_alive()


def test_many_threads_at_once_lose_nothing(cluster: SimulatedCluster) -> None:
    """However many sessions break under them."""
    random = np.random.default_rng(7)
    faults = random.choice(np.array([Fault.NONE, *LOSSES], object), 400, p=[0.8] + [0.04] * 5)
    done: list[str] = []

    def work(first: int) -> None:
        for id_ in range(first, first + 10):
            done.extend(statuses(ledger, move(id_)))

    with connected(cluster, sessions=3, attempts_max=50) as ledger:
        cluster.faults.extend(faults.tolist())
        threads = [threading.Thread(target=work, args=(1_000 * n,)) for n in range(1, 17)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS)
        assert done == ["CREATED"] * 160
        assert spent(cluster) == 160
        assert cluster.sessions_open <= 3
    assert cluster.sessions_open == 0


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda ledger: ledger.lookup_accounts([A]), LedgerClosed),
        (lambda ledger: ledger.create_transfers([move(11)]), OutcomeUnknown),
    ],
    ids=["reading", "writing"],
)
def test_closing_ends_what_others_wait_for(
    cluster: SimulatedCluster, call: Callable[[ClusterLedger], object], expected: type[Exception]
) -> None:
    """At once, however long they would have waited: reading fails, of writing nothing is known."""
    ledger = connected(cluster, timeout_seconds=TIMEOUT_SECONDS)
    cluster.faults.append(Fault.LOSE_REPLY)
    thread, caught = in_thread(lambda: call(ledger))
    until(lambda: cluster.sessions[0].lost)
    ledger.close()
    ledger.close()
    thread.join(TIMEOUT_SECONDS / 2)
    assert [type(error) for error in caught] == [expected]
    assert not ledger.is_open
    with pytest.raises(LedgerClosed, match="cluster: 0"):
        call(ledger)
    with pytest.raises(LedgerClosed), ledger:
        pass


def test_closing_ends_a_pause_between_attempts(cluster: SimulatedCluster) -> None:
    """A caller that waits to try again need not wait any longer."""

    class Patient(Breaker):
        def failed(self) -> float:
            super().failed()
            pausing.set()
            return TIMEOUT_SECONDS

    pausing = threading.Event()
    ledger = connected(cluster, breaker=Patient)
    cluster.faults.append(Fault.EVICT_BEFORE)
    thread, caught = in_thread(lambda: ledger.create_transfers([move(11)]))
    assert pausing.wait(TIMEOUT_SECONDS)
    ledger.close()
    thread.join(TIMEOUT_SECONDS / 2)
    [error] = caught
    assert isinstance(error, OutcomeUnknown)
    assert isinstance(error.cause, ConnectionFailed)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_touch_the_sessions(cluster: SimulatedCluster) -> None:
    """They belong to its parent, where they go on."""
    with connected(cluster) as ledger:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert not ledger.is_open
                for call in (
                    lambda: ledger.lookup_accounts([A]),
                    lambda: ledger.create_transfers([move(11)]),
                ):
                    with pytest.raises(LedgerClosed):
                        call()
                ledger.close()
                code = cluster.sessions_open - 1
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert statuses(ledger, move(11)) == ["CREATED"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"sessions": 0}, "sessions"),
        ({"sessions": 65}, "sessions"),
        ({"attempts_max": 0}, "attempts_max"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    cluster: SimulatedCluster, options: dict[str, int], field: str
) -> None:
    """By name, before anything is sent."""
    with pytest.raises(InvalidField) as caught:
        connected(cluster, **options)
    assert caught.value.field == field
    assert cluster.sessions == []
