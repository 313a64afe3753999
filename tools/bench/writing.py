"""The workloads that write. Each fills a fresh ledger; a request is durable when it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from nostro.journal import AccountFlags, Rows, Transfer, TransferFlags
from nostro.projections import AsyncLedger, Ledger
from nostro.tools.bench.measure import (
    BATCH,
    Figure,
    Scale,
    disk_bytes,
    percentiles,
    quantile,
    times_of,
)
from nostro.tools.bench.payments import (
    LEDGER,
    open_accounts,
    transfer_batch,
    transfer_objects,
)
from nostro.tools.signals import Stop, stop_on_signal

ACCOUNTS: Final = 10_000
MANY_ACCOUNTS: Final = 1_000_000
_FUNDS: Final = 10**12
_PENDING: Final = int(TransferFlags.PENDING)
_POST: Final = int(TransferFlags.POST_PENDING_TRANSFER)
_VOID: Final = int(TransferFlags.VOID_PENDING_TRANSFER)


def columnar(path: Path, scale: Scale) -> Iterator[Figure]:
    with Ledger.open(path) as ledger:
        open_accounts(ledger, ACCOUNTS)
        batches = _batches(scale)
        before = disk_bytes(path)
        times = _times(ledger, batches)
        size = (disk_bytes(path) - before) / _count(batches)
    workload = f"{_count(batches):,} numpy rows, {BATCH:,} a request, {ACCOUNTS:,} accounts"
    yield _rate("columnar", batches, times, workload)
    yield from percentiles("columnar", times, "ms", "one such request")
    yield Figure("disk, large batches", size, "bytes/transfer", workload, False)


def many_accounts(path: Path, scale: Scale) -> Iterator[Figure]:
    accounts = max(2, MANY_ACCOUNTS * scale.transfers // 1_000_000)
    what = f"the same between {accounts:,} accounts"
    make = partial(_batches, scale, accounts=accounts)
    yield _written(path, "columnar, a million accounts", what, make, accounts=accounts)


def limited(path: Path, scale: Scale) -> Iterator[Figure]:
    what = "the same, every account with debits_must_not_exceed_credits, all covered"
    flags = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
    yield _written(path, "columnar, limits", what, partial(_batches, scale), flags=flags)


def two_phase(path: Path, scale: Scale) -> Iterator[Figure]:
    what = "the same, half of each request pending, half posts (7 of 8) and voids of the one before"
    yield _written(path, "columnar, two-phase", what, partial(_pending_and_resolved, scale))


def random_ids(path: Path, scale: Scale) -> Iterator[Figure]:
    random = np.random.default_rng(2)
    batches = _batches(scale)
    for batch in batches:
        batch["id"] = random.integers(1, 2**63, (len(batch), 2), dtype=np.uint64)
    what = f"the same with random ids; history holds only these {_count(batches):,}"
    yield _written(path, "columnar, random ids", what, lambda: batches)


def objects(path: Path, scale: Scale) -> Iterator[Figure]:
    random = np.random.default_rng(1)
    count = max(1, scale.transfers // BATCH // 2)
    batches = [transfer_objects(random, BATCH, accounts=ACCOUNTS) for _ in range(count)]
    what = f"{_count(batches):,} Transfer objects, {BATCH:,} a request"
    yield _written(path, "objects", what, lambda: batches)


def one_at_a_time(path: Path, scale: Scale) -> Iterator[Figure]:
    with Ledger.open(path) as ledger:
        open_accounts(ledger, ACCOUNTS)
        transfers = transfer_objects(np.random.default_rng(1), scale.singles, accounts=ACCOUNTS)
        before = disk_bytes(path)
        times = _times(ledger, [[transfer] for transfer in transfers])
    workload = f"{scale.singles:,} requests of one transfer, one caller"
    yield Figure("one at a time", len(times) / sum(times), "transfers/s", workload)
    yield Figure("one at a time, p99", 1e6 * quantile(times, 0.99), "µs", workload, False)
    size = (disk_bytes(path) - before) / len(times)
    yield Figure("disk, single", size, "bytes/transfer", workload, False)


def from_threads(path: Path, scale: Scale, threads: int = 64) -> Iterator[Figure]:
    each = max(1, 4 * scale.singles // threads)
    with Ledger.open(path) as ledger:
        open_accounts(ledger, ACCOUNTS)
        random = np.random.default_rng(1)
        shares = [transfer_objects(random, each, accounts=ACCOUNTS) for _ in range(threads)]

        def work(share: list[Transfer]) -> None:
            for transfer in share:
                if stop.is_set():
                    return
                ledger.create_transfers([transfer])

        with _stopping() as stop, ThreadPoolExecutor(threads) as pool:
            began = time.perf_counter()
            list(pool.map(work, shares))
            seconds = time.perf_counter() - began
    workload = f"{threads * each:,} requests of one transfer from {threads} threads"
    yield Figure(f"{threads} threads", threads * each / seconds, "transfers/s", workload)


def from_tasks(path: Path, scale: Scale, tasks: int = 1_000) -> Iterator[Figure]:
    each = max(1, 4 * scale.singles // tasks)
    random = np.random.default_rng(1)
    shares = [transfer_objects(random, each, accounts=ACCOUNTS) for _ in range(tasks)]
    with Ledger.open(path) as ledger:
        open_accounts(ledger, ACCOUNTS)

    async def work(ledger: AsyncLedger, share: list[Transfer]) -> None:
        for transfer in share:
            if stop.is_set():
                return
            await ledger.create_transfers([transfer])

    async def run() -> float:
        async with await AsyncLedger.open(path) as ledger:
            began = time.perf_counter()
            await asyncio.gather(*(work(ledger, share) for share in shares))
            return time.perf_counter() - began

    with _stopping() as stop:
        seconds = asyncio.run(run())
    workload = f"{tasks * each:,} requests of one transfer from {tasks:,} asyncio tasks"
    yield Figure(f"{tasks:,} tasks", tasks * each / seconds, "transfers/s", workload)


WORKLOADS: Final[tuple[Callable[[Path, Scale], Iterator[Figure]], ...]] = (
    columnar,
    many_accounts,
    limited,
    two_phase,
    random_ids,
    objects,
    one_at_a_time,
    from_threads,
    from_tasks,
)


@contextlib.contextmanager
def _stopping() -> Iterator[Stop]:
    """Yield what a signal sets, and raise KeyboardInterrupt once all threads and tasks have ended.

    A KeyboardInterrupt in their middle would close the ledger under them.
    """
    with stop_on_signal() as stop:
        yield stop
    if stop.is_set():
        raise KeyboardInterrupt(stop.number)


def _batches(scale: Scale, *, accounts: int = ACCOUNTS) -> list[Rows]:
    random = np.random.default_rng(1)
    count = max(1, scale.transfers // BATCH)
    return [transfer_batch(random, BATCH, accounts=accounts) for _ in range(count)]


def _count(batches: Sequence[Sized]) -> int:
    return sum(map(len, batches))


def _times(ledger: Ledger, batches: Sequence[Any]) -> list[float]:
    """Return the seconds of each request. Every transfer must take effect, or the work differs."""
    before = ledger.transfer_count
    times = times_of(ledger.create_transfers, batches)
    if ledger.transfer_count != before + _count(batches):
        raise AssertionError("the ledger refused some of the measured transfers")
    return times


def _written(
    path: Path,
    name: str,
    what: str,
    make: Callable[[], Sequence[Sized]],
    *,
    accounts: int = ACCOUNTS,
    flags: int = 0,
) -> Figure:
    """Return the rate at which a fresh ledger takes the requests that ``make`` returns.

    They are made last: ids rise with time, and funding uses ids too.
    """
    with Ledger.open(path) as ledger:
        open_accounts(ledger, accounts, flags=flags)
        if flags:
            _fund(ledger)
        batches = make()
        times = _times(ledger, batches)
    return _rate(name, batches, times, what)


def _rate(name: str, batches: Sequence[Sized], times: list[float], workload: str) -> Figure:
    return Figure(name, _count(batches) / sum(times), "transfers/s", workload)


def _fund(ledger: Ledger) -> None:
    """Give every account enough for all transfers of the workload."""
    bank = np.zeros(1, ledger.accounts().dtype)
    bank["id"][:, 0], bank["ledger"], bank["code"] = ACCOUNTS + 1, LEDGER, 1
    ledger.create_accounts(bank)
    random = np.random.default_rng(2)
    for first in range(1, ACCOUNTS + 1, BATCH):
        count = min(BATCH, ACCOUNTS + 1 - first)
        rows = transfer_batch(random, count, accounts=ACCOUNTS)
        rows["debit_account_id"][:, 0] = ACCOUNTS + 1
        rows["credit_account_id"][:, 0] = np.arange(first, first + count)
        rows["amount"][:, 0] = _FUNDS
        ledger.create_transfers(rows)


def _pending_and_resolved(scale: Scale) -> list[Rows]:
    half = BATCH // 2
    batches = [rows[: 2 * half] for rows in _batches(scale)]
    is_void = np.arange(half) % 8 == 0
    all_ones = np.uint64(2**64 - 1)
    for number, rows in enumerate(batches):
        rows["flags"][:half] = _PENDING
        if not number:
            continue
        resolving = rows[half:]
        for field in ("debit_account_id", "credit_account_id", "ledger", "code"):
            resolving[field] = 0
        resolving["flags"] = np.where(is_void, _VOID, _POST)
        resolving["amount"] = np.where(is_void, np.uint64(0), all_ones)[:, None]
        resolving["pending_id"] = batches[number - 1]["id"][:half]
    return batches
