"""``nostro prove``: prove that a root covers a transfer, or that it continues an older root."""

from __future__ import annotations

from pathlib import Path

import click

from nostro.journal import EventTree, InclusionProof, Proof, Root, RootDiffers
from nostro.projections import Ledger
from nostro.tools.cli.evidence import files as evidence
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand


@click.command(
    cls=DocumentedCommand,
    short_help="Prove a transfer, or that history only grew.",
    examples=(
        "nostro prove books 17 --root 2026-01-31.root --out 17.proof",
        "nostro prove books --from 2026-01-31.root --root 2026-02-28.root",
        "nostro prove books 17 --json",
    ),
)
@parameters.directory
@click.argument("transfer", type=parameters.account_id, required=False)
@evidence.older_root
@evidence.root_file
@evidence.out
@parameters.quiet
@parameters.as_json
def prove(
    directory: Path,
    *,
    transfer: int | None,
    old: Root | None,
    root: Root | None,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Prove that DIR holds the event of TRANSFER (an id), or that history only grew.

    The event of a refused transfer can be proved too. The proof is for the root in --root, or for
    the root of all events so far. It is a JSON file of a few KiB. You need no ledger to check it:
    see docs/guides/tamper-evidence.md.
    """
    if (transfer is None) == (old is None):
        raise click.UsageError("give either TRANSFER or --from")
    position = None if transfer is None else _position(directory, transfer)
    with evidence.event_tree(directory, "prove", quiet=quiet) as tree:
        proof = _prove(tree, position, old, root)
    if out is not None:
        evidence.write_evidence(out, proof.encode())
    if as_json:
        screen.json_line(proof.shown())
        return
    if isinstance(proof, InclusionProof):
        screen.line(f"The root covers event {proof.event_position:,}.", style="bold green")
    else:
        screen.line(
            f"The first {proof.old_position:,} events are those of the older root.",
            style="bold green",
        )
    screen.facts(
        [
            ("ledger", proof.ledger_id.hex()),
            ("events", f"{proof.position:,}"),
            ("root", proof.root.hex()),
            ("hashes", f"{len(proof.path)}"),
            ("written to", "" if out is None else str(out)),
        ]
    )


def _position(directory: Path, transfer: int) -> int:
    with Ledger.open(directory, create=False, read_only=True) as ledger:
        position = ledger.transfer_position(transfer)
    if position is None:
        raise CommandFailed(
            f"the ledger has no transfer {transfer}", hint="`nostro log DIR` shows every transfer"
        )
    return position


def _prove(tree: EventTree, position: int | None, old: Root | None, root: Root | None) -> Proof:
    """Return the proof, checked against the journal and the roots that were given."""
    for given in (old, root):
        if given is not None:
            tree.check_reach(given)
    size = tree.position if root is None else root.position
    if old is not None:
        _refuse_after(old.position, size, "the older root")
        grown = tree.prove_consistency(old.position, size=size)
        _refuse_other(old, grown.old_root)
        _refuse_other(root, grown.root)
        return grown
    assert position is not None
    _refuse_after(position, size, "the transfer")
    included = tree.prove_inclusion(position, size=size)
    _refuse_other(root, included.root)
    return included


def _refuse_after(position: int, size: int, what: str) -> None:
    if position > size:
        raise CommandFailed(
            f"{what} is at position {position:,}, and the root ends at {size:,}",
            hint="take a newer root",
        )


def _refuse_other(root: Root | None, found: bytes) -> None:
    if root is not None and root.root != found:
        raise RootDiffers(root.position, found, root.root)
