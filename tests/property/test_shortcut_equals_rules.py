"""The shortcuts and the exact rules: two ways to one answer, to the last byte.

NOSTRO_EQUALITY_TRANSFERS sets how many transfers go both ways in the stream at the end.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import attrs
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nostro import AMOUNT_MAX, Account, AccountFlags, Ledger, Transfer, TransferFlags
from nostro.journal.model import Rows
from nostro.journal.rows import transfer_rows
from nostro.journal.storage.directory import Directory, read_head
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.index_set import Indexes
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.deciding.fast_path_columns import ROWS_MIN, decide_by_columns
from nostro.projections.deciding.fast_path_rows import decide_by_rows
from nostro.projections.deciding.frontier import Frontier
from nostro.projections.state.archive import Archive
from tests.clocks import HandClock

PLAIN: Final = range(1, 40)
LIMITED, CLOSED, FOREIGN, ABSENT, NEARLY_FULL, FILLER, YOUNG = 101, 102, 103, 104, 105, 106, 107
FUNDED, OWED, CLOSABLE = 108, 109, 110
FUNDS: Final = 10**9
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
    Account(id=FUNDED, ledger=1, code=1, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS),
    Account(id=OWED, ledger=1, code=1, flags=AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS),
    Account(id=CLOSABLE, ledger=1, code=1),
]
FILLING: Final = Transfer(
    id=50, debit_account_id=NEARLY_FULL, credit_account_id=FILLER, amount=AMOUNT_MAX - 2**70,
    ledger=1, code=1,
)  # fmt: skip

_POST, _VOID = TransferFlags.POST_PENDING_TRANSFER, TransferFlags.VOID_PENDING_TRANSFER
OPEN, TIMED, DONE, WIDE, OPEN_TOO = 30, 31, 32, 34, 36
RESERVED: Final = 1_000
RESERVING: Final = Transfer(
    id=OPEN, debit_account_id=1, credit_account_id=2, amount=RESERVED, user_data_128=2**90,
    user_data_64=8, user_data_32=9, ledger=1, code=1, flags=TransferFlags.PENDING,
)  # fmt: skip
PREPARED: Final = [
    attrs.evolve(FILLING, id=20, debit_account_id=OWED, credit_account_id=FUNDED, amount=FUNDS),
    RESERVING,
    attrs.evolve(RESERVING, id=TIMED, timeout=2**20),
    attrs.evolve(RESERVING, id=DONE),
    Transfer(id=33, pending_id=DONE, amount=AMOUNT_MAX, flags=_POST),
    attrs.evolve(RESERVING, id=WIDE, amount=2**70),
    attrs.evolve(RESERVING, id=35, debit_account_id=CLOSABLE,
                 flags=TransferFlags.PENDING | TransferFlags.CLOSING_DEBIT),
    attrs.evolve(RESERVING, id=OPEN_TOO),
]  # fmt: skip

YOUNGEST: Final = Account(
    id=YOUNG, ledger=1, code=1, flags=AccountFlags.IMPORTED, timestamp=YOUNG_SINCE
)  # fmt: skip

Change = Callable[[Transfer], Transfer]


def _set(**fields: int) -> Change:
    return lambda transfer: attrs.evolve(transfer, **fields)  # type: ignore[arg-type]


def _resolve(flags: TransferFlags = _POST, **fields: int) -> Change:
    """Post or void OPEN, naming nothing that need not be named, except by ``fields``."""
    amount = 0 if flags & _VOID else AMOUNT_MAX
    nothing = {"debit_account_id": 0, "credit_account_id": 0, "ledger": 0, "code": 0}
    return _set(**{**nothing, "pending_id": OPEN, "amount": amount, "flags": flags} | fields)


# What is done to one row of a batch that is otherwise eligible, and whether columns may decide it;
# ONE_BY_ONE holds what a few may differ in as well.
CHANGES: Final[dict[str, tuple[Change, bool]]] = {
    "nothing": (_set(), True),
    "the largest amount of 64 bits": (_set(amount=2**64 - 1), True),
    "an amount of 65 bits": (_set(amount=2**64), True),
    "an amount of 80 bits": (_set(amount=2**80 - 1), True),
    "an amount of 81 bits": (_set(amount=2**80), False),
    "no amount at all": (_set(amount=0), True),
    "user data": (_set(user_data_128=AMOUNT_MAX, user_data_64=1, user_data_32=1), True),
    "an id used before": (_set(id=50), False),
    "an id below those used": (_set(id=2), True),
    "a pending transfer's id": (_set(id=OPEN), False),
    "no id": (_set(id=0), False),
    "the id of all ones": (_set(id=AMOUNT_MAX), False),
    "the greatest id": (_set(id=AMOUNT_MAX - 1), True),
    "a limited account": (_set(debit_account_id=LIMITED), False),
    "a limit on the other side": (_set(credit_account_id=LIMITED), True),
    "all that the limit leaves": (_set(debit_account_id=FUNDED, amount=FUNDS), True),
    "one more": (_set(debit_account_id=FUNDED, amount=FUNDS + 1), False),
    "all that is owed": (_set(credit_account_id=OWED, amount=FUNDS), True),
    "one more than is owed": (_set(credit_account_id=OWED, amount=FUNDS + 1), False),
    "the limit reserved": (
        _set(debit_account_id=FUNDED, amount=FUNDS, flags=TransferFlags.PENDING),
        True,
    ),
    "more than the limit reserved": (
        _set(debit_account_id=FUNDED, amount=FUNDS + 1, flags=TransferFlags.PENDING),
        False,
    ),
    "far more than the limit": (_set(debit_account_id=FUNDED, amount=2**64 + 1), False),
    "a closed account": (_set(credit_account_id=CLOSED), False),
    "another ledger's account": (_set(debit_account_id=FOREIGN), False),
    "an account that is not there": (_set(credit_account_id=ABSENT), False),
    "one account for both": (_set(debit_account_id=7, credit_account_id=7), False),
    "an account nearly full of debits": (_set(debit_account_id=NEARLY_FULL), False),
    "credits to that account": (_set(credit_account_id=NEARLY_FULL), False),
    "an account nearly full of credits": (_set(credit_account_id=FILLER), False),
    "another ledger": (_set(ledger=2), False),
    "no ledger": (_set(ledger=0), False),
    "no code": (_set(code=0), False),
    "a timeout": (_set(timeout=1), False),
    "a pending id": (_set(pending_id=2**64), False),
    "a timestamp": (_set(timestamp=5), False),
    "the imported flag": (_set(flags=TransferFlags.IMPORTED, timestamp=5), False),
    "the linked flag": (_set(flags=TransferFlags.LINKED), True),
    "a balancing flag": (_set(flags=TransferFlags.BALANCING_DEBIT), False),
    "a closing flag": (_set(flags=TransferFlags.PENDING | TransferFlags.CLOSING_DEBIT), False),
    "pending": (_set(flags=TransferFlags.PENDING), True),
    "pending for some time": (_set(flags=TransferFlags.PENDING, timeout=2**32 - 1), True),
    "pending and linked": (_set(flags=TransferFlags.PENDING | TransferFlags.LINKED), True),
    "pending with a pending id": (_set(flags=TransferFlags.PENDING, pending_id=OPEN), False),
    "a post": (_resolve(), True),
    "a post of a part": (_resolve(amount=RESERVED - 1), True),
    "a post of all by number": (_resolve(amount=RESERVED), True),
    "a post of nothing": (_resolve(amount=0), True),
    "a post of too much": (_resolve(amount=RESERVED + 1), False),
    "a post of far too much": (_resolve(amount=2**64 + 1), False),
    "a void": (_resolve(_VOID), True),
    "a void by number": (_resolve(_VOID, amount=RESERVED), True),
    "a void of a part": (_resolve(_VOID, amount=RESERVED - 1), False),
    "a void of all ones": (_resolve(_VOID, amount=AMOUNT_MAX), False),
    "a post that names all": (
        _resolve(debit_account_id=1, credit_account_id=2, ledger=1, code=1),
        True,
    ),
    "a post of another debit account": (_resolve(debit_account_id=3), False),
    "a post of another credit account": (_resolve(credit_account_id=1), False),
    "a post in another ledger": (_resolve(ledger=2), False),
    "a post with another code": (_resolve(code=2), False),
    "a post with user data": (_resolve(user_data_128=1, user_data_64=2, user_data_32=3), True),
    "a post with a timeout": (_resolve(timeout=1), False),
    "a post that is linked": (_resolve(_POST | TransferFlags.LINKED), True),
    "a post and void": (_resolve(_POST | _VOID, amount=0), False),
    "a post that is pending": (_resolve(_POST | TransferFlags.PENDING), False),
    "a void that is pending": (_resolve(_VOID | TransferFlags.PENDING), False),
    "a post with a timestamp": (_resolve(timestamp=5), False),
    "a post of nobody": (_resolve(pending_id=0), False),
    "a post of the absent": (_resolve(pending_id=2**100), False),
    "a post of what is done": (_resolve(pending_id=DONE), False),
    "a post of what was never pending": (_resolve(pending_id=50), False),
    "a post of what has time": (_resolve(pending_id=TIMED), True),
    "a post of a wide amount": (_resolve(pending_id=WIDE), False),
    "a post of what closed an account": (_resolve(pending_id=35), False),
    "a void of what closed an account": (_resolve(_VOID, pending_id=35), False),
    "a reserved flag": (_set(flags=TransferFlags(1 << 14)), False),
}

ONE_BY_ONE: Final = {
    "nothing", "the largest amount of 64 bits", "no amount at all", "user data", "the greatest id",
}  # fmt: skip

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
    with tempfile.TemporaryDirectory(prefix="nostro-columns-") as folder:
        prepared = Path(folder) / "prepared"
        _prepare(prepared)
        fast, exact = (
            _run(shutil.copytree(prepared, Path(folder) / name), rows, fast_paths=name == "fast")
            for name in ("fast", "exact")
        )
    for first, second in zip(fast, exact, strict=True):
        assert first == second


@pytest.mark.parametrize(("change", "eligible"), CHANGES.values(), ids=CHANGES.keys())
def test_columns_decide_what_they_are_meant_to(
    tmp_path: Path, change: Change, eligible: bool
) -> None:
    """The shortcut is taken when nothing is unusual, and never when one row of 64 is."""
    batch = [_transfer(Random(number), 100 + number) for number in range(ROWS_MIN)]
    batch[40] = change(batch[40])
    assert _takes_the_shortcut(tmp_path, batch) is eligible
    assert_equal([transfer_rows(batch)])


@pytest.mark.parametrize("names", [("a post", "a post"), ("a void", "a post")])
def test_what_is_resolved_twice_is_left_to_the_rules(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """In one request the second of two resolutions finds what the first has done."""
    batch = [_transfer(Random(number), 100 + number) for number in range(ROWS_MIN)]
    for place, name in zip((20, 40), names, strict=True):
        batch[place] = CHANGES[name][0](batch[place])
    assert not _takes_the_shortcut(tmp_path, batch)
    assert_equal([transfer_rows(batch)])


@pytest.mark.parametrize("share", [FUNDS // 2, FUNDS // 2 + 1])
def test_what_reaches_a_limit_together_is_left_to_the_rules(tmp_path: Path, share: int) -> None:
    """Two transfers that each leave enough do not both when there is too little for the sum."""
    batch = [_transfer(Random(number), 100 + number) for number in range(ROWS_MIN)]
    for place in (20, 40):
        batch[place] = attrs.evolve(batch[place], debit_account_id=FUNDED, amount=share)
    assert _takes_the_shortcut(tmp_path, batch) is (share * 2 <= FUNDS)
    assert_equal([transfer_rows(batch)])


def test_a_chain_without_an_end_is_left_to_the_rules(tmp_path: Path) -> None:
    """The last row of a request may not be linked to the next."""
    batch = [_transfer(Random(number), 100 + number) for number in range(ROWS_MIN)]
    batch[-1] = attrs.evolve(batch[-1], flags=TransferFlags.LINKED)
    assert not _takes_the_shortcut(tmp_path, batch)
    assert_equal([transfer_rows(batch)])


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("name", CHANGES)
def test_a_few_are_decided_one_by_one(tmp_path: Path, name: str, count: int) -> None:
    """The same shortcut for small requests; near an overflow it leaves either side to the rules."""
    batch = [_transfer(Random(number), 100 + number) for number in range(count)]
    batch[-1] = CHANGES[name][0](batch[-1])
    assert _takes_the_shortcut(tmp_path, batch) is (name in ONE_BY_ONE)
    assert_equal([transfer_rows([transfer]) for transfer in batch])


@pytest.mark.parametrize(("place", "change", "eligible"), IMPORTS.values(), ids=IMPORTS.keys())
def test_columns_import_what_they_are_meant_to(
    tmp_path: Path, place: int, change: Change, eligible: bool
) -> None:
    """The same for imported batches, at whose times alone one row in 64 may differ."""
    batch = _imported([_transfer(Random(number), 100 + number) for number in range(ROWS_MIN)])
    batch[place] = change(batch[place])
    assert _takes_the_shortcut(tmp_path, batch) is eligible
    assert_equal([transfer_rows(batch)])


def _takes_the_shortcut(tmp_path: Path, batch: list[Transfer]) -> bool:
    _prepare(tmp_path / "ledger")
    return _is_decided_fast(tmp_path / "ledger", transfer_rows(batch), timestamp_first=NOW)


def _is_decided_fast(path: Path, rows: Rows, *, timestamp_first: int) -> bool:
    """Whether a shortcut decides the request on top of what the ledger in ``path`` holds."""
    storage, directory = Storage(), Directory(path)
    indexes = Indexes(storage, directory)
    indexes.load()
    state = restore_state(storage, directory, indexes=indexes).state
    frontier = Frontier(state, indexes.transfers, Archive(path, storage), threading.RLock())
    decided = (
        decide_by_rows(rows, frontier, timestamp_first=timestamp_first)
        if len(rows) < ROWS_MIN
        else decide_by_columns(
            rows, frontier, timestamp_first=timestamp_first, wait_for_all=lambda: None
        )
    )
    indexes.release()
    return decided is not None


def _prepare(path: Path) -> None:
    clock = HandClock()
    with Ledger.open(path, clock=clock) as ledger:
        ledger.create_accounts(ACCOUNTS)
        ledger.create_transfers(PREPARED)
        clock.now = FILLED_AT
        ledger.create_transfers([FILLING])
        clock.now = 2 * YOUNG_SINCE
        ledger.create_accounts([YOUNGEST])


def _run(
    path: Path, requests: list[Rows], *, fast_paths: bool, ways: Counter[bool] | None = None
) -> tuple[list[bytes], bytes, list[tuple[int, ...]], bytes]:
    """Results, state, a few look-ups and the journal of a prepared ledger given the requests.

    Args:
        ways: counts the requests that a shortcut decides, and those that it does not.
    """
    clock = HandClock(NOW)
    with Ledger.open(path, clock=clock, fast_paths=fast_paths) as ledger:
        results = []
        for rows in requests:
            if ways is not None:
                ways[_is_decided_fast(path, rows, timestamp_first=clock.now)] += 1
            results.append(ledger.create_transfers(rows).tobytes())
            clock.now += NOW
        ids = np.unique(requests[-1]["id"], axis=0)[:5]
        found = ledger.lookup_transfers(int(low) | int(high) << 64 for low, high in ids)
        state = ledger.state_sha256()
    directory = Directory(path)
    end = read_head(Storage(), directory).offset_bytes
    frames = directory.segment(1).read_bytes()[:end]
    return results, state, [attrs.astuple(transfer) for transfer in found], frames


class Stream:
    """Requests that use most of what columns decide, and now and then something they do not."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._ids = self._random.choice(("rising", "shuffled", "scattered"))
        self._id = 2**64 - 5_000
        self._open: list[int] = [OPEN, TIMED, OPEN_TOO]
        self._blemish = self._random.choice((0.0, 0.05, 0.3))

    def request(self, count: int) -> list[Transfer]:
        random = self._random
        kinds = random.choice(("plain", "plain pending", "plain pending resolving", "resolving"))
        ids = [self._next_id() for _ in range(count)]
        if self._ids == "shuffled":
            random.shuffle(ids)
        batch = [self._event(random.choice(kinds.split()), id_) for id_ in ids]
        self._open += [it.id for it in batch if it.flags & TransferFlags.PENDING]
        if random.random() < self._blemish:
            place = random.randrange(count)
            batch[place] = random.choice(list(CHANGES.values()))[0](batch[place])
        if random.random() < self._blemish:
            batch[random.randrange(count)] = random.choice(batch)
        return batch

    def _next_id(self) -> int:
        self._id += 1
        return self._random.randrange(2**127) if self._ids == "scattered" else self._id

    def _event(self, kind: str, id_: int) -> Transfer:
        random = self._random
        made = _transfer(random, id_)
        linked = TransferFlags.LINKED if random.random() < 0.002 else TransferFlags(0)
        if kind == "resolving" and self._open:
            pending = self._open.pop(random.randrange(len(self._open)))
            if random.random() < 0.7:
                return _resolve(_POST | linked, pending_id=pending)(made)
            return _resolve(_VOID | linked, pending_id=pending)(made)
        if random.random() < 0.1:
            side = random.choice(("debit_account_id", "credit_account_id"))
            made = _set(**{side: random.choice((FUNDED, OWED)), "amount": 100})(made)
        if kind != "pending":
            return attrs.evolve(made, flags=linked)
        timeout = random.choice((0, 0, 2**20))
        amount = min(made.amount, 2**50)
        return attrs.evolve(
            made, flags=TransferFlags.PENDING | linked, timeout=timeout, amount=amount
        )


def test_a_stream_goes_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pending and posted, limited and linked, one after another: the same, to the last byte."""
    wanted = int(os.environ.get("NOSTRO_EQUALITY_TRANSFERS", "6000"))
    seed = int(os.environ.get("NOSTRO_EQUALITY_SEED", "1"))
    _prepare(tmp_path / "prepared")
    done, ways = 0, Counter[bool]()
    while done < wanted:
        stream, random = Stream(seed), Random(seed)
        requests = [stream.request(random.randrange(ROWS_MIN, 400)) for _ in range(10)]
        rows = [transfer_rows(request) for request in requests]
        fast, exact = (
            _run(
                shutil.copytree(tmp_path / "prepared", tmp_path / f"{name} {seed}"),
                rows,
                fast_paths=name == "fast",
                ways=ways if name == "fast" else None,
            )
            for name in ("fast", "exact")
        )
        assert fast == exact
        done, seed = done + sum(map(len, rows)), seed + 1
    assert ways[True] > ways[False] > 0, "or one of the ways was hardly gone"
    with capsys.disabled():
        sys.stdout.write(
            f"\n{done:,} transfers both ways, {ways[True]:,} requests by a shortcut,"
            f" {ways[False]:,} by the rules; seeds to {seed - 1}\n"
        )
