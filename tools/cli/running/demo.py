"""``nostro demo``: write payments, kill the writer, recover everything, look at past balances."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from nostro.projections import Ledger
from nostro.tools.amounts import format_amount
from nostro.tools.cli.terminal import screen
from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.demo import story
from nostro.tools.demo.world import DAY_NS, WALLET_FIRST, WALLETS, World, make_world

PAYMENTS: Final = 300_000
_SCALE: Final = 2


@click.command(
    cls=DocumentedCommand,
    short_help="See a ledger survive a crash.",
    examples=(
        "nostro demo",
        "nostro demo --payments 1000000 --keep books",
    ),
)
@click.option(
    "--payments",
    type=click.IntRange(10_000, 10_000_000),
    default=PAYMENTS,
    show_default=True,
    metavar="N",
    help="The number of payments.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=1,
    show_default=True,
    help="The seed of the random payments.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Make the ledger in the new directory DIR, and keep it.",
)
def demo(*, payments: int, seed: int, keep: Path | None) -> None:
    """Write a day of payments, kill the writer in the middle, and show that nothing is lost.

    Everything is real: a second process writes to a ledger on disk, SIGKILL ends it, and the
    ledger recovers from its files. It takes about ten seconds.
    """
    if keep is not None and os.path.lexists(keep):
        raise CommandFailed(f"{keep} already exists", code=WRONG_USE, hint="name a new directory")
    began = time.perf_counter()
    with _new_directory(keep) as path:
        Ledger.open(path).close()  # in another process, a wrong path would end in a traceback
        midnight_ns = (time.time_ns() // DAY_NS - 1) * DAY_NS
        world = make_world(payments=payments, midnight_ns=midnight_ns, seed=seed)
        killed = _act_one(path, world, seed)
        _act_two(path, world, killed)
        _act_three(path, world, killed)
        _act_four(path, world)
        _act_five(path)
    screen.line()
    screen.line(f"Done in {time.perf_counter() - began:.1f} s. What to try next:", style="bold")
    _next_steps(keep)


@contextlib.contextmanager
def _new_directory(keep: Path | None) -> Iterator[Path]:
    """Yield a path for the ledger. Only a ledger that is complete and asked for is kept."""
    with tempfile.TemporaryDirectory(prefix="nostro-demo-") as folder:
        path = Path(folder, "books") if keep is None else keep
        try:
            yield path
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise


def _act_one(path: Path, world: World, seed: int) -> story.Killed:
    day = datetime.fromtimestamp(world.midnight_ns / 1e9, UTC).date()
    count = len(world.transfers)
    _title(1, f"Payments: {WALLETS:,} wallets, {count:,} transfers on {day}")
    with show_progress("payments", "transfers") as progress:
        killed = story.write_and_kill(
            path, world, seed=seed, progress=lambda done: progress.update(done, count, done)
        )
    rate = killed.acknowledged / killed.seconds
    _line(f"Each batch of {story.BATCH:,} is on disk before it is acknowledged: {rate:,.0f}/s.")
    _line(f"SIGKILL ended the writer, process {killed.process_id}, in the middle of its work.")
    _line(f"It had acknowledged {killed.acknowledged:,} transfers.")
    return killed


def _act_two(path: Path, world: World, killed: story.Killed) -> None:
    _title(2, "Recovery: the ledger is opened again")
    survived = story.recover(path, world, killed)
    recovery, report = survived.report.recovery, survived.report
    start = "first event"
    if report.checkpoint is not None:
        start = f"checkpoint at {report.checkpoint.position:,}"
    _line(
        f"Replayed {report.events_replayed:,} events from the {start}, in {report.seconds:.2f} s."
    )
    if recovery is not None and recovery.torn_bytes:
        _line(f"Recovery moved a torn frame of {recovery.torn_bytes:,} bytes into quarantine.")
    _check(
        survived.found == survived.acknowledged,
        f"{survived.found:,} of {survived.acknowledged:,} acknowledged transfers are there.",
    )
    _check(survived.invented == 0, "The ledger holds no other transfers.")
    if survived.unacknowledged:
        _line(f"{survived.unacknowledged:,} more reached the disk, but were not acknowledged.")


def _act_three(path: Path, world: World, killed: story.Killed) -> None:
    _title(3, "The rest is sent again")
    count = len(world.transfers)
    with show_progress("payments", "transfers") as progress:
        created, existed = story.finish(
            path, world, killed, progress=lambda done: progress.update(done, count, done)
        )
    _check(
        created + existed == count - killed.acknowledged,
        f"{created:,} created, {existed:,} answered EXISTS: each is there once.",
    )


def _act_four(path: Path, world: World) -> None:
    _title(4, f"Past balances of wallet {WALLET_FIRST}")
    moments = story.walk_back(path, world)
    columns = [
        screen.Column("time (UTC)"),
        screen.Column("balance", right=True),
        screen.Column("sum of its payments", right=True),
    ]
    rows = [
        (
            datetime.fromtimestamp(moment.timestamp / 1e9, UTC).strftime("%Y-%m-%d %H:%M"),
            format_amount(moment.balance, _SCALE, group=True),
            format_amount(moment.expected, _SCALE, group=True),
        )
        for moment in moments
    ]
    screen.table(columns, rows)
    _check(
        all(moment.balance == moment.expected for moment in moments),
        "All balances are equal to the sums.",
    )


def _act_five(path: Path) -> None:
    _title(5, "Verification")
    verified, audited = story.prove(path)
    per_transfer = verified.size_bytes / max(audited.transfers, 1)
    _line(
        f"Read and verified {verified.size_bytes:,} bytes, {per_transfer:.0f} for each transfer;"
        f" the hash chain ends with {verified.frame_sha256.hex()[:16]}…"
    )
    rate = audited.events / audited.seconds
    _check(audited.passed, f"Replayed every event ({rate:,.0f}/s): the state is the same.")
    debits = format_amount(audited.debits_posted, _SCALE, group=True)
    credits = format_amount(audited.credits_posted, _SCALE, group=True)
    _check(debits == credits, f"Debits {debits} = credits {credits}.")


def _next_steps(keep: Path | None) -> None:
    books = "books" if keep is None else str(keep)
    steps: list[tuple[str, str]] = []
    if keep is None:
        steps.append((f"nostro demo --keep {books}", "do the same and keep the ledger"))
    steps += [
        (f"nostro accounts {books} --limit 5", "every account and its balance"),
        (f"nostro statement {books} {WALLET_FIRST} --scale 2", "the transfers of one wallet"),
        (f"nostro log {books} --follow", "events as they become durable"),
        ("nostro import --help", "import your own payments"),
    ]
    for command, what in steps:
        screen.line(f"  {command:<42}{what}")


def _title(number: int, text: str) -> None:
    screen.line()
    screen.line(f"{number}. {text}", style="bold cyan")


def _line(text: str) -> None:
    screen.line(f"   {text}")


def _check(good: bool, text: str) -> None:
    if not good:
        raise CommandFailed(f"the demonstration failed: {text}")
    screen.line(f"   ✓ {text}", style="green")
