"""``nostro verify-proof``: whether a proof holds, under roots its reader has from elsewhere."""

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
@click.argument("proof", type=evidence.ProofFile())
@click.argument("root", type=evidence.RootFile())
@click.option(
    "--from",
    "old",
    type=evidence.RootFile(),
    metavar="FILE",
    help="The older root, of a proof that history only grew.",
)
@click.option(
    "--public-key",
    type=evidence.PublicKey(),
    metavar="HEX",
    help="The roots must be signed by this key.",
)
@parameters.as_json
def verify_proof(
    *, proof: Proof, root: Root, old: Root | None, public_key: bytes | None, as_json: bool
) -> None:
    """Check that PROOF holds under ROOT, both files; the exit code is 1 if it does not.

    Needs no ledger. ROOT must be from somebody you trust, and not from whoever made the proof.
    """
    if public_key is not None:
        for given in (root, old):
            if given is not None:
                given.check_signature(public_key)
    if isinstance(proof, InclusionProof):
        if old is not None:
            raise click.UsageError("--from goes with a proof that history only grew")
        proof.check(root)
        said = f"Event {proof.event_position:,} is under the root:"
    else:
        if old is None:
            raise click.UsageError("this proof is that history only grew: name the root before")
        proof.check(old, root)
        said = f"The first {proof.old_position:,} events are those of the older root."
    if as_json:
        screen.json_line({"holds": True, "proof": proof.shown(), "root": root.shown()})
        return
    screen.line(said, style="bold green")
    if isinstance(proof, InclusionProof):
        screen.facts([(name, str(value)) for name, value in proof.shown()["event"].items()])
    screen.facts(
        [
            ("ledger", root.ledger_id.hex()),
            ("taken", root.shown()["time"]),
            ("signed by", evidence.signed_by(root)),
        ]
    )
