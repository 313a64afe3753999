"""``nostro balance``: what stands on an account, now or at any moment."""

from __future__ import annotations

from pathlib import Path

import click

from nostro.journal import Account
from nostro.tools.amounts import format_amount
from nostro.tools.cli.books.accounts import account_json, balance_of, find_accounts
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.screen import Column
from nostro.tools.times import format_plain


@click.command(
    cls=DocumentedCommand,
    short_help="Show balances, now or at any moment.",
    examples=(
        "nostro balance books 576 --scale 2",
        "nostro balance books 576 900001 --at 1993-03-31 --scale 2",
        "nostro balance books 0x1f --position 12000 --json",
    ),
)
@parameters.directory
@click.argument("account", nargs=-1, required=True, type=parameters.account_id)
@parameters.at
@click.option(
    "--position", type=click.IntRange(0), metavar="N", help="As it was after the event N."
)
@parameters.scale
@parameters.as_json
def balance(
    directory: Path,
    *,
    account: tuple[int, ...],
    at: int | None,
    position: int | None,
    scale: int,
    as_json: bool,
) -> None:
    """Show the balance of one or more accounts, now or at a past moment.

    The balance is credits minus debits. Accounts are decimal or 0x hexadecimal ids.
    """
    if at is not None and position is not None:
        raise click.UsageError("--at and --position exclude each other")
    asked = {"timestamp": at, "position": position}
    moment = {name: value for name, value in asked.items() if value is not None}
    found = find_accounts(directory, account, **moment)
    if as_json:
        shown = {"timestamp": "at_ns", "position": "at_position"}
        told = {shown[name]: value for name, value in moment.items()}
        for one in found:
            screen.json_line(account_json(one, scale) | told)
        return
    if at is not None:
        screen.line(f"At {format_plain(at)} UTC", style="dim")
    if position is not None:
        screen.line(f"After event {position:,}", style="dim")
    _show(found, scale)


def _show(found: list[Account], scale: int) -> None:
    pending = any(account.debits_pending or account.credits_pending for account in found)
    names = ["debits_posted", "credits_posted"]
    titles = ["debits", "credits"]
    if pending:
        names += ["debits_pending", "credits_pending"]
        titles += ["pending debits", "pending credits"]
    screen.table(
        [
            Column("account", style="cyan"),
            Column("ledger", right=True),
            *[Column(title, right=True) for title in titles],
            Column("balance", right=True, style="bold"),
        ],
        (
            [screen.id_text(account.id), str(account.ledger)]
            + [format_amount(getattr(account, name), scale, group=True) for name in names]
            + [format_amount(balance_of(account), scale, group=True)]
            for account in found
        ),
    )
