"""The shortcut by columns and the exact rules: two ways to one answer, to the last byte."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import attrs
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import projections.pipeline
from journal import AMOUNT_MAX, Account, AccountFlags, Transfer, TransferFlags
from journal.codec import Rows
from journal.directory import Directory, read_head
from journal.rows import transfer_rows
from journal.storage import Storage
from projections import Ledger
from projections.decision import Decision
from projections.frontier import Frontier
from projections.plain import ROWS_MIN, PlainDraft, decide_plain
from tests.clocks import HandClock

PLAIN: Final = range(1, 40)
LIMITED, CLOSED, FOREIGN, ABSENT, NEARLY_FULL, FILLER, YOUNG = 101, 102, 103, 104, 105, 106, 107
NOW: Final = 10_000_000
"""When the first request is made; each later one comes as much later."""
FILLED_AT, YOUNG_SINCE = 1_500_000, 3_000_000
ACCOUNTS: Final = [
    *(Account(id=id_, ledger=1, code=1) for id_ in PLAIN),
    Account(id=LIMITED, ledger=1, code=1, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS),
    Account(id=CLOSED, ledger=1, code=1, flags=AccountFlags.CLOSED),
    Account(id=FOREIGN, ledger=2, code=1),
    Account(id=NEARLY_FULL, ledger=1, code=1),
    Account(id=FILLER, ledger=1, code=1),
]
FILLING: Final = Transfer(
    id=50, debit_account_id=NEARLY_FULL, credit_account_id=FILLER, amount=AMOUNT_MAX - 2**70,
    ledger=1, code=1,
)  # fmt: skip

YOUNGEST: Final = Account(
    id=YOUNG, ledger=1, code=1, flags=AccountFlags.IMPORTED, timestamp=YOUNG_SINCE
)  # fmt: skip

Change = Callable[[Transfer], Transfer]


def _set(**fields: int) -> Change:
    return lambda transfer: attrs.evolve(transfer, **fields)  # type: ignore[arg-type]


# What is done to one row of a batch that is otherwise eligible, and whether columns may decide it.
CHANGES: Final[dict[str, tuple[Change, bool]]] = {
    "nothing": (_set(), True),
    "the largest amount of 64 bits": (_set(amount=2**64 - 1), True),
    "an amount of 65 bits": (_set(amount=2**64), False),
    "no amount at all": (_set(amount=0), True),
    "user data": (_set(user_data_128=AMOUNT_MAX, user_data_64=1, user_data_32=1), True),
    "an id used before": (_set(id=50), False),
    "an id below those used": (_set(id=2), False),
    "no id": (_set(id=0), False),
    "the id of all ones": (_set(id=AMOUNT_MAX), False),
    "the greatest id": (_set(id=AMOUNT_MAX - 1), True),
    "a limited account": (_set(debit_account_id=LIMITED), False),
    "a limit on the other side": (_set(credit_account_id=LIMITED), False),
    "a closed account": (_set(credit_account_id=CLOSED), False),
    "another ledger's account": (_set(debit_account_id=FOREIGN), False),
    "an account that is not there": (_set(credit_account_id=ABSENT), False),
    "one account for both": (_set(debit_account_id=7, credit_account_id=7), False),
    "an account nearly full of debits": (_set(debit_account_id=NEARLY_FULL), False),
    "credits to that account": (_set(credit_account_id=NEARLY_FULL), True),
    "an account nearly full of credits": (_set(credit_account_id=FILLER), False),
    "another ledger": (_set(ledger=2), False),
    "no ledger": (_set(ledger=0), False),
    "no code": (_set(code=0), False),
    "a timeout": (_set(timeout=1), False),
    "a pending id": (_set(pending_id=2**64), False),
    "a timestamp": (_set(timestamp=5), False),
    "the imported flag": (_set(flags=TransferFlags.IMPORTED, timestamp=5), False),
    "the linked flag": (_set(flags=TransferFlags.LINKED), False),
    "a reserved flag": (_set(flags=TransferFlags(1 << 14)), False),
}

# The same for an imported batch, with the row it is done to; the times are those of _imported.
IMPORTS: Final[dict[str, tuple[int, Change, bool]]] = {
    "nothing": (0, _set(), True),
    "a row that is not imported": (50, _set(flags=0, timestamp=0), False),
    "a reserved flag": (50, _set(flags=TransferFlags(1 << 14)), False),
    "a reserved flag too": (50, _set(flags=TransferFlags.IMPORTED | 1 << 9), False),
    "the linked flag too": (50, _set(flags=TransferFlags.IMPORTED | TransferFlags.LINKED), False),
    "no time": (0, _set(timestamp=0), False),
    "the time of the row before": (50, _set(timestamp=YOUNG_SINCE - 1), False),
    "a time that goes back": (50, _set(timestamp=YOUNG_SINCE - 9), False),
    "an account's own time": (50, _set(timestamp=YOUNG_SINCE), False),
    "the newest transfer's time": (0, _set(timestamp=FILLED_AT), False),
    "the time after it": (0, _set(timestamp=FILLED_AT + 1), True),
    "the last time before now": (63, _set(timestamp=NOW + 62), True),
    "now": (63, _set(timestamp=NOW + 63), False),
    "beyond all time": (63, _set(timestamp=2**64 - 1), False),
    "an account that is just there": (50, _set(debit_account_id=YOUNG), True),
    "an account that is not there yet": (49, _set(credit_account_id=YOUNG), False),
}


class Batch:
    """A request and what is unusual in it; shown by that, for the whole of it is too long."""

    def __init__(self, change: str, transfers: list[Transfer]) -> None:
        self.change = change
        self.transfers = transfers

    def __repr__(self) -> str:
        return f"Batch({self.change!r}, {len(self.transfers)} transfers)"


@st.composite
def batches(draw: st.DrawFn) -> list[Batch]:
    """Batches with what was changed in each; ids go on from batch to batch."""
    random = Random(draw(st.integers(0, 2**32)))
    next_id = draw(st.sampled_from([51, 2**64 - 100, 2**100]))
    made: list[Batch] = []
    for change in draw(st.lists(st.sampled_from(list(CHANGES)), min_size=1, max_size=4)):
        count = random.choice((1, random.randrange(1, 8), random.randrange(ROWS_MIN, 3 * ROWS_MIN)))
        batch = [_transfer(random, next_id + number) for number in range(count)]
        if random.random() < 0.3:
            batch = _imported(batch, turn=len(made))
        next_id += count
        if random.random() < 0.3:
            random.shuffle(batch)
        place = random.choice((0, count - 1, random.randrange(count)))
        batch[place] = CHANGES[change][0](batch[place])
        if random.random() < 0.1:
            batch[place - 1] = batch[place]
        made.append(Batch(change, batch))
    return made


def _transfer(random: Random, id_: int) -> Transfer:
    debit, credit = random.sample(PLAIN, 2)
    return Transfer(
        id=id_, debit_account_id=debit, credit_account_id=credit,
        amount=random.randrange(2 ** random.choice((7, 64))), ledger=1, code=1,
    )  # fmt: skip


def _imported(batch: list[Transfer], *, turn: int = 0) -> list[Transfer]:
    """The transfers at every other nanosecond, the fiftieth just before YOUNG_SINCE of the turn."""
    first = NOW * turn + YOUNG_SINCE - 99
    return [
        attrs.evolve(transfer, flags=TransferFlags.IMPORTED, timestamp=first + 2 * number)
        for number, transfer in enumerate(batch)
    ]


@settings(max_examples=40)
@given(requests=batches())
@example(
    requests=[Batch("nothing", [_transfer(Random(0), id_) for id_ in range(51, 50 + ROWS_MIN)])]
)
def test_both_ways_give_the_same_results_state_and_bytes(requests: list[Batch]) -> None:
    """Whatever a batch holds, whoever decides it: same answer, same balances, same journal."""
    assert_equal([transfer_rows(batch.transfers) for batch in requests])


def assert_equal(rows: list[Rows]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("journal.creation.os.urandom", lambda count: b"\x07" * count)
        by_columns = _run(rows)
        patch.setattr(projections.pipeline, "decide_plain", lambda *_, **__: None)
        by_rules = _run(rows)
    for first, second in zip(by_columns, by_rules, strict=True):
        assert first == second


@pytest.mark.parametrize(("change", "eligible"), CHANGES.values(), ids=CHANGES.keys())
def test_columns_decide_what_they_are_meant_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, eligible: bool
) -> None:
    """The shortcut is taken when nothing is unusual, and never when one row of 64 is."""
    batch = [_transfer(Random(number), 100 + number) for number in range(ROWS_MIN)]
    batch[40] = change(batch[40])
    assert _takes_the_shortcut(tmp_path, monkeypatch, batch) is eligible


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("name", CHANGES)
def test_a_few_are_decided_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int
) -> None:
    """The same shortcut for small requests; near an overflow it leaves either side to the rules."""
    change, eligible = CHANGES[name]
    batch = [_transfer(Random(number), 100 + number) for number in range(count)]
    batch[-1] = change(batch[-1])
    if name == "credits to that account":
        eligible = False
    assert _takes_the_shortcut(tmp_path, monkeypatch, batch) is eligible
    assert_equal([transfer_rows([transfer]) for transfer in batch])


@pytest.mark.parametrize(("place", "change", "eligible"), IMPORTS.values(), ids=IMPORTS.keys())
def test_columns_import_what_they_are_meant_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, change: Change, eligible: bool
) -> None:
    """The same for imported batches, at whose times alone one row in 64 may differ."""
    batch = _imported([_transfer(Random(number), 100 + number) for number in range(ROWS_MIN)])
    batch[place] = change(batch[place])
    assert _takes_the_shortcut(tmp_path, monkeypatch, batch) is eligible
    assert_equal([transfer_rows(batch)])


def _takes_the_shortcut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: list[Transfer]
) -> bool:
    decided: list[bool] = []

    def watched(
        rows: Rows, frontier: Frontier, *, timestamp_first: int
    ) -> tuple[Decision, PlainDraft] | None:
        decision = decide_plain(rows, frontier, timestamp_first=timestamp_first)
        decided.append(decision is not None)
        return decision

    with monkeypatch.context() as patch, _prepared(tmp_path / "ledger", HandClock()) as ledger:
        patch.setattr(projections.pipeline, "decide_plain", watched)
        ledger.create_transfers(batch)
    (shortcut,) = decided
    return shortcut


def _prepared(path: Path, clock: HandClock) -> Ledger:
    ledger = Ledger.open(path, clock=clock)
    ledger.create_accounts(ACCOUNTS)
    clock.now = FILLED_AT
    ledger.create_transfers([FILLING])
    clock.now = 2 * YOUNG_SINCE
    ledger.create_accounts([YOUNGEST])
    clock.now = NOW
    return ledger


def _run(requests: list[Rows]) -> tuple[list[bytes], bytes, list[tuple[int, ...]], bytes]:
    """Results, state, a few look-ups and the journal of a new ledger given the requests."""
    parent = Path(tempfile.mkdtemp(prefix="nostro-columns-"))
    clock = HandClock()
    try:
        with _prepared(parent / "ledger", clock) as ledger:
            results = []
            for rows in requests:
                results.append(ledger.create_transfers(rows).tobytes())
                clock.now += NOW
            ids = np.unique(requests[-1]["id"], axis=0)[:5]
            found = ledger.lookup_transfers(int(low) | int(high) << 64 for low, high in ids)
            state = ledger.state_sha256()
        directory = Directory(parent / "ledger")
        end = read_head(Storage(), directory).offset_bytes
        frames = directory.segment(1).read_bytes()[512:end]  # the header names its time of making
        return results, state, [attrs.astuple(transfer) for transfer in found], frames
    finally:
        shutil.rmtree(parent)
