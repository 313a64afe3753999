"""``nostro accounts``: every account with its balances."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from nostro.journal import Account, AccountFlags, Rows
from nostro.journal.rows import accounts_from_rows
from nostro.projections import Ledger
from nostro.tools.amounts import format_amount
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.screen import Column
from nostro.tools.exporting.naming import fields_json
from nostro.tools.times import format_rfc3339

_SHORT_FLAGS: Final = {
    AccountFlags.LINKED: "linked",
    AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS: "debits<=credits",
    AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS: "credits<=debits",
    AccountFlags.HISTORY: "history",
    AccountFlags.IMPORTED: "imported",
    AccountFlags.CLOSED: "closed",
}

_BALANCES: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")


@click.command(
    cls=DocumentedCommand,
    short_help="List the accounts with their balances.",
    examples=(
        "nostro accounts books --scale 2",
        "nostro accounts books --code 20 --at 1993-06-30",
        "nostro accounts books --json | jq -r .id",
    ),
)
@parameters.directory
@click.option("--ledger", "ledger_number", type=click.IntRange(1), help="Only this ledger number.")
@click.option("--code", type=click.IntRange(1), help="Only this account code.")
@click.option("--limit", type=parameters.count, help="Show at most this many, oldest first.")
@parameters.at
@parameters.scale
@parameters.as_json
def accounts(
    directory: Path,
    *,
    ledger_number: int | None,
    code: int | None,
    limit: int | None,
    at: int | None,
    scale: int,
    as_json: bool,
) -> None:
    """List the accounts in DIR with their balances, in order of creation.

    The balance is credits minus debits. --json writes JSON Lines: ids and amounts are text,
    because many JSON readers lose digits beyond 2**53.
    """
    rows = _accounts_at(directory, at)
    keep = np.ones(len(rows), bool)
    if ledger_number is not None:
        keep &= rows["ledger"] == ledger_number
    if code is not None:
        keep &= rows["code"] == code
    found = rows[keep]
    shown = accounts_from_rows(found[:limit])
    if as_json:
        for account in shown:
            screen.json_line(account_json(account, scale))
        return
    _show(shown, scale)
    if len(shown) < len(found):
        screen.line(f"{len(shown):,} of {len(found):,} accounts; --limit asked for no more.")
    else:
        screen.line(f"{screen.counted(len(found), 'account')}.")


def _accounts_at(directory: Path, at: int | None) -> Rows:
    with Ledger.open(directory, create=False, read_only=True) as ledger:
        return ledger.accounts() if at is None else ledger.at(timestamp=at).accounts()


def balance_of(account: Account) -> int:
    """Return credits minus debits, posted."""
    return account.credits_posted - account.debits_posted


def account_json(account: Account, scale: int) -> dict[str, Any]:
    """Return the account as JSON shows it; amounts are text with ``scale`` decimals."""
    amounts = {name: format_amount(getattr(account, name), scale) for name in _BALANCES}
    return {
        **fields_json(account),
        **amounts,
        "balance": format_amount(balance_of(account), scale),
        "timestamp": format_rfc3339(account.timestamp),
        "timestamp_ns": account.timestamp,
    }


def _show(shown: list[Account], scale: int) -> None:
    if not shown:
        return
    screen.table(
        [
            Column("account", style="cyan"),
            Column("ledger", right=True),
            Column("code", right=True),
            Column("flags", style="dim"),
            Column("debits", right=True),
            Column("credits", right=True),
            Column("balance", right=True, style="bold"),
        ],
        (
            (
                screen.id_text(account.id),
                str(account.ledger),
                str(account.code),
                " ".join(name for flag, name in _SHORT_FLAGS.items() if flag & account.flags),
                format_amount(account.debits_posted, scale, group=True),
                format_amount(account.credits_posted, scale, group=True),
                format_amount(balance_of(account), scale, group=True),
            )
            for account in shown
        ),
    )


def find_accounts(directory: Path, ids: tuple[int, ...], **moment: int) -> list[Account]:
    """Return the accounts ``ids`` as they are, or were ``at(**moment)``; in the order asked.

    Raises:
        CommandFailed: naming those that are not there.
    """
    with Ledger.open(directory, create=False, read_only=True) as ledger:
        view = ledger.at(**moment) if moment else ledger
        found = {account.id: account for account in view.lookup_accounts(list(dict.fromkeys(ids)))}
    missing = [screen.id_text(id) for id in ids if id not in found]
    if missing:
        noun = "account" if len(missing) == 1 else "accounts"
        when = " at that moment" if moment else ""
        raise CommandFailed(
            f"{directory}: no {noun} {', '.join(missing)}{when}",
            hint=f"`nostro accounts {directory}` lists what there is",
        )
    return [found[id] for id in ids]
