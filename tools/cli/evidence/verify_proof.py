"""``nostro verify-proof``: check a proof with roots that you trust."""

from __future__ import annotations

import click

from nostro.journal import InclusionProof, Proof, Root
from nostro.tools.cli.evidence import files as evidence
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand


@click.command(
    cls=DocumentedCommand,
    short_help="Check a proof, without the ledger.",
    examples=(
        "nostro verify-proof 17.proof 2026-01-31.root --public-key 0f3c…",
        "nostro verify-proof grown.proof 2026-02-28.root --from 2026-01-31.root",
        "nostro verify-proof 17.proof 2026-01-31.root --json",
    ),
)
@click.argument("proof", type=evidence.read_proof)
@click.argument("root", type=evidence.read_root)
@evidence.older_root
@evidence.public_key
@parameters.as_json
def verify_proof(
    *, proof: Proof, root: Root, old: Root | None, public_key: bytes | None, as_json: bool
) -> None:
    """Check the proof in PROOF with the root in ROOT; the exit code is 1 if it does not hold.

    You need no ledger. Take ROOT from a source that you trust, not from the maker of the proof.
    """
    if public_key is not None:
        for given in (root, old):
            if given is not None:
                given.check_signature(public_key)
    if isinstance(proof, InclusionProof):
        if old is not None:
            raise click.UsageError("PROOF is about one event; leave out --from")
        proof.check(root)
        result = f"The root covers event {proof.event_position:,}:"
    else:
        if old is None:
            raise click.UsageError("PROOF compares two roots; name the older one with --from")
        proof.check(old, root)
        result = f"The first {proof.old_position:,} events are those of the older root."
    if as_json:
        screen.json_line({"holds": True, "proof": proof.shown(), "root": root.shown()})
        return
    screen.line(result, style="bold green")
    if isinstance(proof, InclusionProof):
        screen.facts([(name, str(value)) for name, value in proof.shown()["event"].items()])
    screen.facts(
        [
            ("ledger", root.ledger_id.hex()),
            ("taken", root.shown()["time"]),
            ("signed by", evidence.signed_by(root)),
        ]
    )
