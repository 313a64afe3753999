"""Shared by ``root``, ``prove`` and ``verify``: files of roots and proofs, keys, and the tree."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import click

from nostro.journal import EventTree, Proof, Root, decode_proof
from nostro.journal.errors import InvalidEvidence
from nostro.journal.evidence.json_fields import decode_hex
from nostro.journal.evidence.proofs import FILE_BYTES_MAX as PROOF_BYTES_MAX
from nostro.journal.evidence.root import FILE_BYTES_MAX as ROOT_BYTES_MAX
from nostro.journal.storage.files import Storage, write_new_file
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.regular_files import open_regular

FILE: Final = click.Path(path_type=Path, dir_okay=False)

T = TypeVar("T")


def _public_key(text: str) -> bytes:
    """Parse an Ed25519 public key: 64 hexadecimal digits."""
    try:
        return decode_hex(text.lower(), 32)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a public key; a public key has 64 hexadecimal digits"
        ) from None


def read_root(text: str) -> Root:
    """Read a root file. If it is signed, check its signature."""
    root = _read(text, Root.decode, ROOT_BYTES_MAX)
    if root.public_key is not None or root.signature is not None:
        root.check_signature()
    return root


def read_proof(text: str) -> Proof:
    """Read a proof file. It is checked later, with the roots."""
    return _read(text, decode_proof, PROOF_BYTES_MAX)


def _read(text: str, decode: Callable[[bytes], T], size_bytes_max: int) -> T:
    path = Path(FILE.convert(text, None, None))
    with open_regular(path) as file:
        data = file.read(size_bytes_max + 1)
    try:
        return decode(data)
    except InvalidEvidence as error:
        raise InvalidEvidence(error.what, f"{path}: {error.reason}") from None


public_key = click.option(
    "--public-key",
    type=_public_key,
    metavar="HEX",
    help="Accept only roots that this key signed.",
)
older_root = click.option(
    "--from",
    "old",
    type=read_root,
    metavar="FILE",
    help="An older root; the proof shows that history only grew since then.",
)
root_file = click.option(
    "--root", type=read_root, metavar="FILE", help="Make the proof for this root."
)
out = click.option("--out", type=FILE, metavar="FILE", help="Write the result to this new file.")


@contextlib.contextmanager
def event_tree(
    directory: Path, label: str, *, quiet: bool, use_kept: bool = True
) -> Iterator[EventTree]:
    """Yield the tree over the ledger's events; hashing shows its progress under ``label``."""
    with show_progress(label, "events", quiet=quiet) as progress:
        yield EventTree(
            directory,
            use_kept=use_kept,
            progress=progress.update,
        )


def write_evidence(path: Path, data: bytes) -> None:
    """Write a new file; never overwrite a file, which may be evidence too."""
    write_new_file(Storage(), path, data)


def signed_by(root: Root) -> str:
    return "nobody" if root.public_key is None else root.public_key.hex()
