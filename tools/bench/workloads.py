"""The workloads. Every one that writes waits for the disk, as every caller of a ledger does."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import attrs
import numpy as np

import journal
from journal import AccountFilter, AccountFilterFlags, Transfer
from projections import AsyncLedger, Ledger, audit
from tools.bench.payments import open_accounts, transfer_batch, transfer_objects

Argument = TypeVar("Argument")

BATCH: Final = 8_189
ACCOUNTS: Final = 10_000


@attrs.frozen
class Figure:
    """One measured value. ``higher_is_better`` tells a comparison what a gain is."""

    name: str
    value: float
    unit: str
    workload: str
    higher_is_better: bool = True


@attrs.frozen
class Scale:
    """How much work: enough to be steady, or just enough to see that it runs."""

    transfers: int
    singles: int
    lookups: int
    repeats: int


FULL: Final = Scale(transfers=1_000_000, singles=5_000, lookups=20_000, repeats=3)
QUICK: Final = Scale(transfers=100_000, singles=500, lookups=2_000, repeats=1)


def run_all(folder: Path, scale: Scale) -> Iterator[Figure]:
    """Every workload in turn, each on a fresh ledger below ``folder`` unless it says otherwise."""
    for repeatable in (columnar, objects, one_at_a_time, from_threads, from_tasks):
        figures = [list(repeatable(_fresh(folder), scale)) for _ in range(scale.repeats)]
        for same in zip(*figures, strict=True):
            yield attrs.evolve(same[0], value=float(np.median([figure.value for figure in same])))
    path = _fresh(folder)
    _fill(path, scale.transfers)
    yield from reading(path, scale)
    yield from querying(path, scale)
    yield from restarting(path, folder, scale)


def columnar(path: Path, scale: Scale) -> Iterator[Figure]:
    with _ledger(path) as ledger:
        random = np.random.default_rng(1)
        count = max(1, scale.transfers // BATCH)
        batches = [transfer_batch(random, BATCH, accounts=ACCOUNTS) for _ in range(count)]
        before = _disk_bytes(path)
        times = _times(ledger.create_transfers, batches)
    total = count * BATCH
    workload = f"{total:,} transfers as numpy rows, {BATCH:,} a request, {ACCOUNTS:,} accounts"
    yield Figure("columnar", total / sum(times), "transfers/s", workload)
    yield Figure("columnar, p50", 1e3 * _quantile(times, 0.5), "ms", "one such request", False)
    yield Figure("columnar, p99", 1e3 * _quantile(times, 0.99), "ms", "one such request", False)
    size = (_disk_bytes(path) - before) / total
    yield Figure("disk, large batches", size, "bytes/transfer", workload, False)


def objects(path: Path, scale: Scale) -> Iterator[Figure]:
    with _ledger(path) as ledger:
        random = np.random.default_rng(1)
        count = max(1, scale.transfers // BATCH // 2)
        batches = [transfer_objects(random, BATCH, accounts=ACCOUNTS) for _ in range(count)]
        times = _times(ledger.create_transfers, batches)
    workload = f"{count * BATCH:,} Transfer objects, {BATCH:,} a request"
    yield Figure("objects", count * BATCH / sum(times), "transfers/s", workload)


def one_at_a_time(path: Path, scale: Scale) -> Iterator[Figure]:
    with _ledger(path) as ledger:
        transfers = transfer_objects(np.random.default_rng(1), scale.singles, accounts=ACCOUNTS)
        before = _disk_bytes(path)
        times = _times(ledger.create_transfers, [[transfer] for transfer in transfers])
    workload = f"{scale.singles:,} requests of one transfer, one caller"
    yield Figure("one at a time", len(times) / sum(times), "transfers/s", workload)
    yield Figure("one at a time, p99", 1e6 * _quantile(times, 0.99), "µs", workload, False)
    size = (_disk_bytes(path) - before) / len(times)
    yield Figure("disk, single", size, "bytes/transfer", workload, False)


def from_threads(path: Path, scale: Scale) -> Iterator[Figure]:
    threads, each = 64, max(1, scale.singles // 16)
    with _ledger(path) as ledger:
        random = np.random.default_rng(1)
        shares = [transfer_objects(random, each, accounts=ACCOUNTS) for _ in range(threads)]

        def work(share: list[Transfer]) -> None:
            for transfer in share:
                ledger.create_transfers([transfer])

        workers = [threading.Thread(target=work, args=(share,)) for share in shares]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - began
    workload = f"{threads * each:,} requests of one transfer from {threads} threads"
    yield Figure("64 threads", threads * each / seconds, "transfers/s", workload)


def from_tasks(path: Path, scale: Scale) -> Iterator[Figure]:
    tasks, each = 1_000, max(1, scale.singles // 250)
    random = np.random.default_rng(1)
    shares = [transfer_objects(random, each, accounts=ACCOUNTS) for _ in range(tasks)]
    with _ledger(path):
        pass

    async def work(ledger: AsyncLedger, share: list[Transfer]) -> None:
        for transfer in share:
            await ledger.create_transfers([transfer])

    async def run() -> float:
        async with await AsyncLedger.open(path) as ledger:
            began = time.perf_counter()
            await asyncio.gather(*(work(ledger, share) for share in shares))
            return time.perf_counter() - began

    seconds = asyncio.run(run())
    workload = f"{tasks * each:,} requests of one transfer from {tasks:,} asyncio tasks"
    yield Figure("1,000 tasks", tasks * each / seconds, "transfers/s", workload)


def reading(path: Path, scale: Scale) -> Iterator[Figure]:
    with Ledger.open(path) as ledger:
        ids = np.random.default_rng(2).integers(1, ACCOUNTS + 1, scale.lookups).tolist()
        times = _times(ledger.lookup_accounts, [[id_] for id_ in ids])
        yield Figure("lookup of one account", len(ids) / sum(times), "/s", f"{len(ids):,} calls")
        moments = [ledger.position * share // 10 for share in (2, 5, 8)]
        times = _times(lambda position: ledger.at(position=position), moments)
        what = f"the whole ledger after 20, 50 and 80 % of {ledger.position:,} events"
        yield Figure("point in time", 1e3 * max(times), "ms", what, False)


def querying(path: Path, scale: Scale) -> Iterator[Figure]:
    count = max(1, scale.lookups // 100)
    random = np.random.default_rng(4)
    with Ledger.open(path) as ledger:
        of = f"of {ledger.transfer_count:,} transfers"
        accounts = random.integers(1, ACCOUNTS + 1, count).tolist()
        times = _times(ledger.get_account_transfers, [_latest(account) for account in accounts])
        what = f"{count:,} random accounts {of}"
        yield Figure(
            "latest 100 of an account, p50", 1e3 * _quantile(times, 0.5), "ms", what, False
        )
        yield Figure(
            "latest 100 of an account, p99", 1e3 * _quantile(times, 0.99), "ms", what, False
        )
        found = ledger.get_account_transfers(_latest(accounts[0]))
        ids = [[transfer.id] for transfer in found] * max(1, count // len(found))
        random.shuffle(ids)
        times = _times(ledger.lookup_transfers, ids)
        what = f"{len(ids):,} calls, {of}"
        yield Figure("lookup of one transfer", len(ids) / sum(times), "/s", what)


def _latest(account_id: int) -> AccountFilter:
    sides = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS
    return AccountFilter(account_id, limit=100, flags=sides | AccountFilterFlags.REVERSED)


def restarting(path: Path, folder: Path, scale: Scale) -> Iterator[Figure]:
    del scale
    events = _reopen(path)[1]
    seconds = min(_reopen(path)[0] for _ in range(3))
    what = f"{events:,} events, checkpoint at the end"
    yield Figure("reopen, closed cleanly", 1e3 * seconds, "ms", what, False)
    crashed = folder / "crashed"
    with Ledger.open(path, checkpoint_events=10**12) as ledger:
        random = np.random.default_rng(3)
        for _ in range(30):
            ledger.create_transfers(transfer_batch(random, BATCH, accounts=ACCOUNTS))
        shutil.copytree(path, crashed)  # what kill -9 would leave at this moment
    seconds = _reopen(crashed)[0]
    what = f"the same and {30 * BATCH:,} transfers since the checkpoint"
    yield Figure("reopen, after kill -9", 1e3 * seconds, "ms", what, False)
    report = audit(path)
    yield Figure("full replay", report.events / report.seconds, "events/s", "replay --check")
    began = time.perf_counter()
    verified = journal.verify(path)
    rate = verified.size_bytes / (time.perf_counter() - began) / 1e6
    yield Figure("verify", rate, "MB/s", f"{verified.size_bytes:,} bytes on disk")


def _ledger(path: Path) -> Ledger:
    ledger = Ledger.open(path)
    open_accounts(ledger, ACCOUNTS)
    return ledger


def _fill(path: Path, transfers: int) -> None:
    with _ledger(path) as ledger:
        random = np.random.default_rng(1)
        for _ in range(max(1, transfers // BATCH)):
            ledger.create_transfers(transfer_batch(random, BATCH, accounts=ACCOUNTS))


def _fresh(folder: Path) -> Path:
    path = folder / "ledger"
    shutil.rmtree(path, ignore_errors=True)
    return path


def _reopen(path: Path) -> tuple[float, int]:
    began = time.perf_counter()
    with Ledger.open(path) as ledger:
        return time.perf_counter() - began, ledger.position


def _times(call: Callable[[Argument], object], arguments: list[Argument]) -> list[float]:
    times = []
    for argument in arguments:
        began = time.perf_counter()
        call(argument)
        times.append(time.perf_counter() - began)
    return times


def _quantile(times: list[float], share: float) -> float:
    return float(np.quantile(times, share))


def _disk_bytes(path: Path) -> int:
    """How far the journal reaches; reserved room not counted."""
    reader = journal.Reader(path)
    head = reader.head()
    sealed = [file.stat().st_size for file in sorted((path / "segments").iterdir())[:-1]]
    return sum(sealed) + head.offset_bytes
