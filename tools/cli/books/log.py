"""``nostro log``: the events themselves, one line each, and new ones as they become durable."""

from __future__ import annotations

import itertools
import select
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import click

from nostro import journal
from nostro.journal import AccountCreated, Event, RecordKind, TransferCreated, TransferRefused
from nostro.tools.cli.books.event_text import event_json, event_line
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import CommandInterrupted
from nostro.tools.cli.terminal.parameters import Place
from nostro.tools.exporting import Selection
from nostro.tools.signals import stop_on_signal
from nostro.tools.u128 import u128_equal

_IDLE_SECONDS: Final = 1.0  # how soon a reader who went away is noticed while nothing happens


@attrs.frozen
class _Range:
    """What to show."""

    bounds: Selection
    account: int | None

    def holds(self, event: Event) -> bool:
        account = self.account
        return self.bounds.holds(event) and (account is None or account in _accounts_of(event))

    def is_past(self, position: int) -> bool:
        """Whether nothing from ``position`` on can belong: times need not rise with positions."""
        return self.bounds.position_max is not None and position > self.bounds.position_max


@click.command(
    cls=DocumentedCommand,
    short_help="Print the events, and follow new ones.",
    examples=(
        "nostro log books --limit 10",
        "nostro log books --from 1993-05-01 --to 1993-05-31 --account 576",
        "nostro log books --from 20000 --follow --json",
    ),
)
@parameters.directory
@parameters.from_place
@parameters.to_place
@click.option("--account", type=parameters.account_id, help="Only what touches this account.")
@click.option("--limit", type=parameters.count, help="Show at most this many events.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new events as they become durable.")
@parameters.as_json
def log(
    directory: Path,
    *,
    start: Place | None,
    end: Place | None,
    account: int | None,
    limit: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Print the events in DIR, one line each, in the order in which they were recorded.

    An integer up to 10**14 is a position, a larger one nanoseconds. Imported events keep the
    times of their data, so times need not rise from line to line; positions do. --follow ends
    on Ctrl-C, SIGTERM, or when nobody reads any more. --json writes JSON Lines.
    """
    start, end = start or Place(), end or Place()
    bounds = Selection(start.position, end.position, start.timestamp, end.timestamp)
    chosen = _Range(bounds, account)
    short = screen.is_terminal(sys.stdout)
    with stop_on_signal() as stop:
        reader = journal.Reader(directory)
        events = _events(_records(reader, chosen, stop, follow=follow), chosen, stop)
        for event in itertools.islice(events, limit):
            if as_json:
                screen.json_line(event_json(event))
            else:
                click.echo(event_line(event, short=short))
            if follow:
                sys.stdout.flush()
    if stop.is_set() and not follow:
        raise CommandInterrupted(stop.number)


def _records(
    reader: journal.Reader, chosen: _Range, stop: threading.Event, *, follow: bool
) -> Iterator[journal.Record]:
    cursor = journal.Cursor(chosen.bounds.position_min, chosen.bounds.timestamp_min)
    if not follow:
        yield from reader.records(cursor)
        return
    while not stop.is_set() and _is_read():
        for record in reader.follow(cursor, stop=stop, timeout_seconds=_IDLE_SECONDS):
            yield record
            cursor = journal.Cursor(position=record.position_last + 1)


def _is_read() -> bool:
    """Whether somebody still reads standard output; a pipe tells without being written to."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # no descriptor behind it
        return True
    return not any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def _events(
    records: Iterator[journal.Record], chosen: _Range, stop: threading.Event
) -> Iterator[Event]:
    for record in records:
        if stop.is_set() or chosen.is_past(record.position_first):
            return
        if chosen.account is not None and not _may_touch(record, chosen.account):
            continue
        for event in record.events():
            if chosen.is_past(event.position):
                return
            if chosen.holds(event):
                yield event


def _may_touch(record: journal.Record, account: int) -> bool:
    """Whether a record can hold an event of the account. Makes no event of it."""
    fields = {
        RecordKind.ACCOUNTS: ("id",),
        RecordKind.TRANSFERS: ("debit_account_id", "credit_account_id"),
    }
    return any(
        bool(u128_equal(part.rows[field], account).any())
        for part in record.parts
        for field in fields.get(part.kind, ())
    )


def _accounts_of(event: Event) -> tuple[int, ...]:
    if isinstance(event, AccountCreated):
        return (event.account.id,)
    if isinstance(event, TransferCreated | TransferRefused):
        return (event.transfer.debit_account_id, event.transfer.credit_account_id)
    return ()
