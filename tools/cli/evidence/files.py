"""What ``root``, ``prove`` and ``verify`` share: files of roots and proofs, keys, and the tree."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from nostro.journal import ConsistencyProof, EventTree, InclusionProof, Proof, Root, decode_proof
from nostro.journal.errors import InvalidEvidence
from nostro.journal.evidence.proofs import FILE_BYTES_MAX as PROOF_BYTES_MAX
from nostro.journal.evidence.root import FILE_BYTES_MAX as ROOT_BYTES_MAX
from nostro.journal.evidence.root import decode_hex
from nostro.journal.storage.files import Storage, write_new_file
from nostro.tools.cli.terminal.progress import show_progress

_PROCESSES_MAX: Final = 8
"""Each reads the journal for itself, and takes about 45 MiB."""

FILE: Final = click.Path(path_type=Path, dir_okay=False)

if TYPE_CHECKING:  # generic for the type checker, not yet so in every click that is supported
    _BytesType = click.ParamType[bytes]
    _RootType = click.ParamType[Root]
    _ProofType = click.ParamType[Proof]
else:
    _BytesType = _RootType = _ProofType = click.ParamType

T = TypeVar("T")


class PublicKey(_BytesType):
    """An Ed25519 public key: 64 hexadecimal digits."""

    name = "public key"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            return decode_hex(str(value).lower(), 32)
        except ValueError:
            self.fail(f"{value!r} is not a public key: it has 64 hexadecimal digits", param, ctx)


class RootFile(_RootType):
    """A root file. If it is signed, its signature holds."""

    name = "file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Root:
        if isinstance(value, Root):
            return value
        path = Path(FILE.convert(str(value), param, ctx))
        root = _read(path, Root.decode, ROOT_BYTES_MAX)
        if root.public_key is not None or root.signature is not None:
            root.check_signature()
        return root


class ProofFile(_ProofType):
    """A file with a proof. Whether it holds is asked for apart, with the roots."""

    name = "file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Proof:
        if isinstance(value, InclusionProof | ConsistencyProof):
            return value
        path = Path(FILE.convert(str(value), param, ctx))
        return _read(path, decode_proof, PROOF_BYTES_MAX)


def _read(path: Path, decode: Callable[[bytes], T], size_bytes_max: int) -> T:
    with path.open("rb") as file:
        data = file.read(size_bytes_max + 1)
    try:
        return decode(data)
    except InvalidEvidence as error:
        raise InvalidEvidence(error.what, f"{path}: {error.reason}") from None


root_file = click.option("--root", type=RootFile(), metavar="FILE", help="Prove it for this root.")
out = click.option("--out", type=FILE, metavar="FILE", help="Write it to this new file.")


@contextlib.contextmanager
def event_tree(
    directory: Path, label: str, *, quiet: bool, use_kept: bool = True
) -> Iterator[EventTree]:
    """Yield the tree over the ledger's events; hashing shows its progress under ``label``."""
    with show_progress(label, "events", quiet=quiet) as progress:
        yield EventTree(
            directory,
            processes=min(os.cpu_count() or 1, _PROCESSES_MAX),
            use_kept=use_kept,
            progress=lambda done, total: progress.update(done, total, done),
        )


def write_evidence(path: Path, data: bytes) -> None:
    """Write a new file; one that is there is evidence too, and stays."""
    write_new_file(Storage(), path, data)


def signed_by(root: Root) -> str:
    return "nobody" if root.public_key is None else root.public_key.hex()
