"""How figures change with one thing at a time: size of a request, accounts, callers, history."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import numpy as np

from nostro.projections import Ledger
from nostro.tools.bench import writing
from nostro.tools.bench.measure import BATCH, Scale, times_of
from nostro.tools.bench.payments import open_accounts, transfer_batch

_ACCOUNTS: Final = 10_000
_SIZES: Final = (1, 8, 64, 512, 2_048, BATCH, 32_768)
_CALLS_MAX: Final = 2_000
_COUNTS: Final = (100, 10_000, 100_000, 1_000_000)
_THREADS: Final = (1, 4, 16, 64)
_TASKS: Final = (1, 10, 100, 1_000)
_WINDOW: Final = 500_000
"""Transfers over which a rate is taken while history grows."""


@attrs.frozen
class Sweep:
    """``lines`` are rates, transfers/s, each at the values of ``at``."""

    name: str
    title: str
    axis: str
    at: list[float]
    lines: dict[str, list[float]]
    is_log: bool = True


def run_sweeps(folder: Path, scale: Scale) -> Iterator[Sweep]:
    """Each sweep in turn, on fresh ledgers below ``folder``."""
    yield _batch_sizes(folder, scale)
    yield _account_counts(folder, scale)
    yield from _callers(folder, scale)
    yield _history(folder, scale)


def _batch_sizes(folder: Path, scale: Scale) -> Sweep:
    rates = []
    for size in _SIZES:
        count = max(3, min(_CALLS_MAX, scale.transfers // size))
        rates.append(_rate(folder, accounts=_ACCOUNTS, size=size, count=count))
    title = f"Transfers/s by size of a request, {_ACCOUNTS:,} accounts, one caller"
    return Sweep("batch-size", title, "transfers a request", list(_SIZES), {"numpy rows": rates})


def _account_counts(folder: Path, scale: Scale) -> Sweep:
    count = max(3, scale.transfers // BATCH // 2)
    counts = [accounts for accounts in _COUNTS if accounts <= scale.transfers]
    rates = [_rate(folder, accounts=accounts, size=BATCH, count=count) for accounts in counts]
    title = f"Transfers/s by number of accounts, {BATCH:,} a request, one caller"
    return Sweep("accounts", title, "accounts", list(counts), {"numpy rows": rates})


def _callers(folder: Path, scale: Scale) -> Iterator[Sweep]:
    few = attrs.evolve(scale, singles=scale.singles // 4)
    for name, counts, workload in (
        ("threads", _THREADS, writing.from_threads),
        ("tasks", _TASKS, writing.from_tasks),
    ):
        rates = []
        for count in counts:
            (figure,) = workload(_fresh(folder), few, count)
            rates.append(figure.value)
        title = f"Transfers/s by number of {name}, one transfer a request"
        yield Sweep(name, title, name, list(counts), {name: rates})


def _history(folder: Path, scale: Scale) -> Sweep:
    lines: dict[str, list[float]] = {}
    at: list[float] = []
    for name, is_random in (("ids of time", False), ("random ids", True)):
        random = np.random.default_rng(1)
        at, rates = [], []
        with Ledger.open(_fresh(folder)) as ledger:
            open_accounts(ledger, _ACCOUNTS)
            while ledger.transfer_count < scale.history:
                seconds, before = 0.0, ledger.transfer_count
                while ledger.transfer_count < min(before + _WINDOW, scale.history):
                    batch = transfer_batch(random, BATCH, accounts=_ACCOUNTS)
                    if is_random:
                        batch["id"] = random.integers(1, 2**63, (BATCH, 2), dtype=np.uint64)
                    began = time.perf_counter()
                    ledger.create_transfers(batch)
                    seconds += time.perf_counter() - began
                rates.append((ledger.transfer_count - before) / seconds)
                at.append(ledger.transfer_count / 1e6)
        lines[name] = rates
    title = f"Transfers/s as history grows, {BATCH:,} a request, {_ACCOUNTS:,} accounts"
    return Sweep("history", title, "millions of transfers in the ledger", at, lines, is_log=False)


def _rate(folder: Path, *, accounts: int, size: int, count: int) -> float:
    random = np.random.default_rng(1)
    with Ledger.open(_fresh(folder)) as ledger:
        open_accounts(ledger, accounts)
        batches = [transfer_batch(random, size, accounts=accounts) for _ in range(count)]
        return count * size / sum(times_of(ledger.create_transfers, batches))


def _fresh(folder: Path) -> Path:
    path = folder / "sweep"
    shutil.rmtree(path, ignore_errors=True)
    return path
