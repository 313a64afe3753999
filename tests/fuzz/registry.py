"""Every decoder that reads bytes from a disk or from a stranger.

What is not listed reads through one that is: backups, restoring and repairs read HEAD, segments and
the manifest; followers read HEAD and segments; `nostro verify`, `root` and `prove` read roots,
proofs and keys.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from tests.fuzz import journal_decoders, projection_decoders, text_decoders
from tests.fuzz.corpus import corpus
from tests.fuzz.decoder import Decoder

NAMES: Final = (
    "frame", "segment header", "HEAD", "manifest", "CBOR", "zstd block", "payload",
    "payload, block by block", "domain event", "tree entry", "journal", "recovery",
    "checkpoint", "ledger state", "index of ids", "index of postings", "index of reservations",
    "kept tree", "root", "proof", "key", "export", "mapping", "CSV", "JSON Lines",
)  # fmt: skip


@cache
def decoders() -> dict[str, Decoder]:
    """By name."""
    files = corpus()
    listed = [
        *journal_decoders.decoders(files),
        *projection_decoders.decoders(files),
        *text_decoders.decoders(files),
    ]
    found = {decoder.name: decoder for decoder in listed}
    assert tuple(found) == NAMES
    return found
