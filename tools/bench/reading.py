"""The workloads that read, open, replay and verify one large ledger."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from nostro import journal
from nostro.journal import AccountFilter, AccountFilterFlags, Writer
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.projections import Ledger, audit
from nostro.tools.bench.measure import BATCH, Figure, Scale, percentiles, times_of
from nostro.tools.bench.payments import open_accounts, transfer_batch

ACCOUNTS: Final = 10_000
_BUSY: Final = ACCOUNTS + 1
_BUSY_SHARE: Final = 1_000
_SMALL_SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""Small, for most segments to be sealed."""
_SIDES: Final = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS
_OPENING: Final = "with Ledger.open(path) as ledger: ledger.lookup_accounts([1]); report()"
_WRITING: Final = "fill(path, {transfers}, accounts={accounts}); report()"
_CHILD: Final = """
import resource, sys
from pathlib import Path
from nostro import Ledger
from nostro.tools.bench.reading import fill
path = Path(sys.argv[1])
def report():
    if sys.platform == "linux":  # ru_maxrss would begin with the parent's
        status = dict(line.split(":") for line in open("/proc/self/status"))
        print(int(status["VmHWM"].split()[0]) / 1024)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def fill(path: Path, transfers: int, *, accounts: int = ACCOUNTS) -> float:
    """Write a ledger to read; return the seconds that its requests took.

    One more account, after the others, gets every thousandth transfer.
    """
    random = np.random.default_rng(1)
    seconds = 0.0
    with Ledger.open(path) as ledger:
        open_accounts(ledger, accounts + 1)
        for _ in range(max(1, transfers // BATCH)):
            batch = transfer_batch(random, BATCH, accounts=accounts)
            batch["credit_account_id"][::_BUSY_SHARE, 0] = accounts + 1
            began = time.perf_counter()
            ledger.create_transfers(batch)
            seconds += time.perf_counter() - began
    return seconds


def all_of(path: Path, folder: Path, scale: Scale) -> Iterator[Figure]:
    """Yield every figure of the ledger at ``path``; copies of it go into ``folder``."""
    with Ledger.open(path) as ledger:
        yield from _looking_up(ledger, scale)
        yield from _querying(ledger, scale)
        yield from _going_back(ledger, scale)
    yield from _memory(path, folder, scale)
    yield from _restarting(path, folder)
    yield from _checking(path, folder, scale)


def _looking_up(ledger: Ledger, scale: Scale) -> Iterator[Figure]:
    random = np.random.default_rng(2)
    ids = random.integers(1, ACCOUNTS + 1, scale.lookups).tolist()
    times = times_of(ledger.lookup_accounts, [[id_] for id_ in ids])
    yield Figure("lookup of one account", len(ids) / sum(times), "/s", f"{len(ids):,} calls")
    times = times_of(ledger.lookup_accounts, [ids[:BATCH]] * 5)
    what = f"{len(ids[:BATCH]):,} ids a call"
    yield Figure("lookup of accounts", len(ids[:BATCH]) / min(times), "/s", what)
    found = ledger.get_account_transfers(_latest(ids[0], 100))
    wanted = [[transfer.id] for transfer in found] * max(1, scale.lookups // 100 // len(found))
    times = times_of(ledger.lookup_transfers, wanted)
    yield Figure("lookup of one transfer", len(wanted) / sum(times), "/s", f"{len(wanted):,} calls")


def _querying(ledger: Ledger, scale: Scale) -> Iterator[Figure]:
    of = f"of {ledger.transfer_count:,} transfers"
    count = max(1, scale.lookups // 100)
    accounts = np.random.default_rng(4).integers(1, ACCOUNTS + 1, count).tolist()
    times = times_of(ledger.get_account_transfers, [_latest(account, 100) for account in accounts])
    what = f"{count:,} random accounts {of}"
    yield from percentiles("latest 100 of an account", times, "ms", what)
    times = times_of(ledger.get_account_transfers, [_latest(_BUSY, 10_000)] * 3)
    what = f"one account, spread over all {of}"
    yield Figure("10,000 of an account", 1e3 * min(times), "ms", what, False)


def _going_back(ledger: Ledger, scale: Scale) -> Iterator[Figure]:
    moments = [ledger.position * share // 10 for share in (2, 5, 8)]
    times = times_of(lambda position: ledger.at(position=position).accounts(), moments)
    what = f"the whole ledger after 20, 50 and 80 % of {ledger.position:,} events"
    yield Figure("point in time", 1e3 * max(times), "ms", what, False)
    random, count = np.random.default_rng(6), max(1, scale.lookups // 20)
    asked = zip(
        random.integers(ledger.accounts()["timestamp"].max(), ledger.timestamp, count).tolist(),
        random.integers(1, ACCOUNTS + 1, count).tolist(),
        strict=True,
    )
    times = times_of(lambda at: ledger.at(timestamp=at[0]).lookup_accounts([at[1]]), list(asked))
    what = f"{count:,} random accounts at random times, {ledger.transfer_count:,} transfers"
    yield from percentiles("balance at a past time", times, "ms", what)


def _memory(path: Path, folder: Path, scale: Scale) -> Iterator[Figure]:
    what = "peak of a process that opens the ledger, mapped files included"
    yield Figure("memory, opening", _peak_mib(_OPENING, path), "MiB", what, False)
    accounts = scale.history // 10
    other = folder / "memory"
    program = _WRITING.format(transfers=scale.history, accounts=accounts)
    what = f"peak of a process that writes {scale.history:,} between {accounts:,} accounts"
    yield Figure("memory, writing", _peak_mib(program, other), "MiB", what, False)
    shutil.rmtree(other)


def _peak_mib(program: str, path: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD + program, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _restarting(path: Path, folder: Path) -> Iterator[Figure]:
    events = _reopen(path)[1]
    seconds = min(_reopen(path)[0] for _ in range(3))
    what = f"{events:,} events, checkpoint at the end"
    yield Figure("reopen, closed cleanly", 1e3 * seconds, "ms", what, False)
    crashed = folder / "crashed"
    with Ledger.open(path, checkpoint_events=10**12) as ledger:
        random = np.random.default_rng(3)
        for _ in range(30):
            ledger.create_transfers(transfer_batch(random, BATCH, accounts=ACCOUNTS))
        shutil.copytree(path, crashed, copy_function=_copy)  # what kill -9 would leave now
    seconds = _reopen(crashed)[0]
    shutil.rmtree(crashed)
    what = f"the same, and {30 * BATCH:,} transfers after the checkpoint"
    yield Figure("reopen, after kill -9", 1e3 * seconds, "ms", what, False)


def _copy(source: str, target: str) -> None:
    """Copy a file, unless a merge has removed it meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


def _checking(path: Path, folder: Path, scale: Scale) -> Iterator[Figure]:
    report = audit(path)
    yield Figure("full replay", report.events / report.seconds, "events/s", "replay --check")
    yield from _verifying(path, "")
    small = folder / "small"
    _fill_singly(small, scale.transfers)
    yield from _verifying(small, ", requests of one")
    shutil.rmtree(small)


def _verifying(path: Path, of: str) -> Iterator[Figure]:
    for name, quick in (("verify", False), ("verify --quick", True)):
        began = time.perf_counter()
        report = journal.verify(path, quick=quick)
        seconds = time.perf_counter() - began
        what = f"{report.size_bytes:,} bytes on disk"
        yield Figure(name + of, report.size_bytes / seconds / 1e6, "MB/s", what)


def _fill_singly(path: Path, requests: int) -> None:
    """Write a journal to verify: the same request of one transfer over and over."""
    payload = codec.encode_rows(
        RecordKind.TRANSFERS, transfer_batch(np.random.default_rng(1), 1, accounts=ACCOUNTS), None
    )
    with contextlib.closing(Writer.open(path, segment_bytes_max=_SMALL_SEGMENT_BYTES)) as writer:
        for number in range(1, requests + 1):
            ticket = writer.append(
                payload,
                kind=RecordKind.TRANSFERS,
                event_count=1,
                timestamp_min=number,
                timestamp_max=number,
                generation=writer.generation,
            )
            assert ticket is not None  # there is no other writer
            if number % BATCH == 0 or number == requests:
                writer.wait(ticket)


def _latest(account_id: int, limit: int) -> AccountFilter:
    flags = _SIDES | AccountFilterFlags.REVERSED
    return AccountFilter(account_id, limit=limit, flags=flags)


def _reopen(path: Path) -> tuple[float, int]:
    began = time.perf_counter()
    with Ledger.open(path) as ledger:
        return time.perf_counter() - began, ledger.position
