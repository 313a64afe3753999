"""``nostro statement``: an account's postings with the balance after each."""

from __future__ import annotations

import csv
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import click
import numpy as np

from nostro import journal
from nostro.journal import CreateTransferStatus, RecordKind, TransferFlags
from nostro.journal.rows import field_ints
from nostro.tools.amounts import format_amount
from nostro.tools.cli.books.accounts import find_accounts
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.screen import Column
from nostro.tools.times import DAY_NS, SECOND_NS, format_day, format_plain, format_rfc3339
from nostro.tools.u128 import u128_equal

# Neither moves posted amounts: a pending transfer only reserves, a void gives the room back.
_NOT_POSTED: Final = TransferFlags.PENDING | TransferFlags.VOID_PENDING_TRANSFER


@attrs.frozen
class Line:
    """One posting to the account. ``balance`` is what stands after it, credits minus debits."""

    position: int
    timestamp: int
    transfer_id: int
    counter_account: int
    is_debit: bool
    amount: int
    code: int
    balance: int

    @property
    def signed(self) -> int:
        return -self.amount if self.is_debit else self.amount


@attrs.frozen
class Statement:
    account: int
    opening: int
    lines: tuple[Line, ...]
    closing: int
    debits: int
    credits: int


@click.command(
    cls=DocumentedCommand,
    short_help="Show an account's postings and running balance.",
    examples=(
        "nostro statement books 576 --scale 2",
        "nostro statement books 576 --from 1993-05-01 --to 1993-05-31 --scale 2",
        "nostro statement books 576 --csv --scale 2 > 576.csv",
    ),
)
@parameters.directory
@click.argument("account", type=parameters.account_id)
@click.option(
    "--from",
    "start",
    type=parameters.first_instant,
    metavar="TIME",
    help="From this time on; a bare date means its start.",
)
@click.option(
    "--to",
    "end",
    type=parameters.last_instant,
    metavar="TIME",
    help="Up to this time; a bare date means its end.",
)
@click.option("--limit", type=parameters.count, help="Show only this many of the newest postings.")
@parameters.scale
@parameters.as_json
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV instead of text.")
def statement(
    directory: Path,
    account: int,
    *,
    start: int | None,
    end: int | None,
    limit: int | None,
    scale: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show the postings to an account with the running balance.

    The balance is credits minus debits. The opening balance counts everything before the first
    posting shown, the closing balance everything up to the last.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    find_accounts(directory, (account,))
    found = read_statement(directory, account, start=start, end=end, limit=limit)
    if as_json:
        screen.json_line(_json(found, scale))
    elif as_csv:
        _csv(found, scale)
    else:
        _show(found, scale)


def read_statement(
    directory: Path, account: int, *, start: int | None, end: int | None, limit: int | None
) -> Statement:
    """Return the postings from ``start`` to ``end`` (ns, both included), read from the journal.

    Raises:
        journal.Damage: a part of the journal cannot be read.
    """
    opening = 0
    kept: deque[Line] = deque(maxlen=limit)
    for line in _lines(journal.Reader(directory), account):
        if end is not None and line.timestamp > end:
            break  # transfers are recorded in order of time
        if start is not None and line.timestamp < start:
            opening = line.balance
        else:
            kept.append(line)
    if kept:
        opening = kept[0].balance - kept[0].signed
    return Statement(
        account=account,
        opening=opening,
        lines=tuple(kept),
        closing=kept[-1].balance if kept else opening,
        debits=sum(line.amount for line in kept if line.is_debit),
        credits=sum(line.amount for line in kept if not line.is_debit),
    )


def _lines(reader: journal.Reader, account: int) -> Iterator[Line]:
    balance = 0
    for part in reader.parts():
        if part.kind is not RecordKind.TRANSFERS:
            continue
        rows, statuses = part.rows, part.statuses
        debits = u128_equal(rows["debit_account_id"], account)
        chosen = debits | u128_equal(rows["credit_account_id"], account)
        chosen &= rows["flags"] & np.uint16(_NOT_POSTED) == 0
        if statuses is not None:
            chosen &= statuses == CreateTransferStatus.CREATED
        places = np.flatnonzero(chosen)
        found = rows[places]
        counters = np.where(
            debits[places][:, None], found["credit_account_id"], found["debit_account_id"]
        )
        for place, transfer_id, counter, is_debit, amount, code, timestamp in zip(
            places.tolist(),
            field_ints(found["id"]),
            field_ints(counters),
            debits[places].tolist(),
            field_ints(found["amount"]),
            found["code"].tolist(),
            found["timestamp"].tolist(),
            strict=True,
        ):
            balance += -amount if is_debit else amount
            yield Line(
                position=int(part.positions[place]),
                timestamp=timestamp,
                transfer_id=transfer_id,
                counter_account=counter,
                is_debit=is_debit,
                amount=amount,
                code=code,
                balance=balance,
            )


def _show(found: Statement, scale: int) -> None:
    def money(units: int) -> str:
        return format_amount(units, scale, group=True)

    # Data that has only dates stands in the first moments of its days: the time says nothing.
    days_only = all(line.timestamp % DAY_NS < SECOND_NS for line in found.lines)
    screen.line(f"Account {screen.id_text(found.account)}", style="bold")
    rows = [("", "opening balance", "", "", money(found.opening))]
    rows += [
        (
            format_day(line.timestamp) if days_only else format_plain(line.timestamp)[:19],
            screen.id_text(line.counter_account),
            money(line.amount) if line.is_debit else "",
            "" if line.is_debit else money(line.amount),
            money(line.balance),
        )
        for line in found.lines
    ]
    rows.append(
        ("", "closing balance", money(found.debits), money(found.credits), money(found.closing))
    )
    screen.table(
        [
            Column("date", style="dim"),
            Column("counter-account", style="cyan"),
            Column("debit", right=True),
            Column("credit", right=True),
            Column("balance", right=True, style="bold"),
        ],
        rows,
    )


def _line_json(line: Line, scale: int) -> dict[str, Any]:
    return {
        "position": line.position,
        "timestamp": format_rfc3339(line.timestamp),
        "timestamp_ns": line.timestamp,
        "transfer_id": str(line.transfer_id),
        "counter_account_id": str(line.counter_account),
        "debit": format_amount(line.amount, scale) if line.is_debit else "",
        "credit": "" if line.is_debit else format_amount(line.amount, scale),
        "balance": format_amount(line.balance, scale),
        "code": line.code,
    }


def _json(found: Statement, scale: int) -> dict[str, Any]:
    return {
        "account_id": str(found.account),
        "opening": format_amount(found.opening, scale),
        "closing": format_amount(found.closing, scale),
        "debits": format_amount(found.debits, scale),
        "credits": format_amount(found.credits, scale),
        "postings": [_line_json(line, scale) for line in found.lines],
    }


def _csv(found: Statement, scale: int) -> None:
    header = (
        "position", "timestamp", "timestamp_ns", "transfer_id", "counter_account_id", "debit",
        "credit", "balance", "code",
    )  # fmt: skip
    writer = csv.DictWriter(sys.stdout, header, lineterminator="\n")
    writer.writeheader()
    for line in found.lines:
        writer.writerow(_line_json(line, scale))
