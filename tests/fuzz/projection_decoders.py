"""What reads derived files: checkpoints and the states in them, indexes, the kept tree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import cbor2
import numpy as np

from nostro.journal.errors import CorruptCheckpoint, DecodeError
from nostro.journal.evidence.tree_file import read_subtrees
from nostro.journal.format import codec, container
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory
from nostro.projections.checkpoints.checkpoint import (
    Checkpoint,
    checkpoint_witnesses,
    read_checkpoint,
)
from nostro.projections.indexes.group_run import GroupFormat, GroupRun
from nostro.projections.indexes.groups import merge
from nostro.projections.indexes.posting_index import POSTINGS, SIDES, PostingView
from nostro.projections.indexes.reservation_index import (
    RESERVATIONS,
    ReservationView,
)
from nostro.projections.indexes.run_file import Kind, RunFiles
from nostro.projections.indexes.transfer_index import IDS, TransferIndex
from nostro.projections.state.ledger_state import LedgerState
from nostro.projections.state.reservations import Quantity
from tests.crash.memory import MemoryStorage
from tests.fuzz import bombs, repairs
from tests.fuzz.corpus import LEDGER_ID, Corpus, file_in, in_folder
from tests.fuzz.decoder import Decoder, Form

_POSITION: Final = 47
"""Where the ledger ends."""


def decoders(corpus: Corpus) -> list[Decoder]:
    checkpoints = tuple(in_folder(corpus.files, "checkpoints").values())
    states = tuple(_state(one) for one in checkpoints)
    of_state = Form(cbor2.loads, partial(cbor2.dumps, canonical=True))
    return [
        Decoder(
            "checkpoint", _checkpoint_decoder(corpus), checkpoints,
            (CorruptCheckpoint, DecodeError), agrees=_is_state_of,
            repairs=(repairs.checkpoint, repairs.envelope),
            forms=(Form(_open_checkpoint, _close_checkpoint),),
            bombs=(
                *bombs.around(partial(_with_state, checkpoints[0]), bombs.ZSTD),
                *bombs.around(lambda body: repairs.envelope(bytes(40) + body), bombs.CBOR_FEW),
            ),
        ),
        Decoder(
            "ledger state", _decode_state, states, (DecodeError,),
            agrees=lambda found, data: codec.encode_cbor(found.dump()) == data,
            forms=(of_state,), words=bombs.CBOR_WORDS,
        ),
        _run_decoder(corpus, "index of ids", IDS, _read_ids),
        _run_decoder(corpus, "index of postings", POSTINGS.kind, partial(_read_groups, POSTINGS)),
        _run_decoder(
            corpus, "index of reservations", RESERVATIONS.kind, partial(_read_groups, RESERVATIONS)
        ),
        Decoder(
            "kept tree", _tree_decoder(corpus), (_kept_tree(corpus),), (),
            repairs=(repairs.envelope,), forms=(Form(_open_envelope, _close_envelope),),
            bombs=bombs.around(lambda body: repairs.envelope(bytes(40) + body), bombs.CBOR_FEW),
        ),
    ]  # fmt: skip


# --- checkpoints ----------------------------------------------------------------------------------


def _checkpoint_decoder(corpus: Corpus) -> Callable[[bytes], object]:
    head = file_in(corpus.files, "HEAD")
    name = "ledger-00000000000000000046.checkpoint"

    def decode(data: bytes) -> tuple[Checkpoint, LedgerState]:
        storage = MemoryStorage()
        storage.load(corpus.path, {"HEAD": head, "checkpoints": {name: data}})
        directory = Directory(corpus.path)
        for witness in checkpoint_witnesses(storage, directory, LEDGER_ID):
            assert witness.position >= 0
        path = directory.checkpoints / name
        bytes_max = LedgerState.dump_bytes_max(_POSITION)
        checkpoint, dump = read_checkpoint(
            storage, path, ledger_id=LEDGER_ID, state_bytes_max=bytes_max
        )
        return checkpoint, LedgerState.load(dump)

    return decode


def _is_state_of(found: tuple[Checkpoint, LedgerState], data: bytes) -> bool:
    checkpoint, state = found
    return checkpoint.size_bytes == len(data) and checkpoint.state_sha256 == state.sha256()


def _open_envelope(data: bytes) -> object:
    return cbor2.loads(data[40:])


def _close_envelope(value: object) -> bytes:
    return repairs.envelope(bytes(40) + cbor2.dumps(value, canonical=True))


def _state(checkpoint: bytes) -> bytes:
    return codec.decompress(
        container.unpack(checkpoint, file_type="checkpoint")["state"], size_bytes_max=bombs.MIB
    )


def _open_checkpoint(data: bytes) -> dict[str, Any]:
    body = container.unpack(data, file_type="checkpoint")
    body["state"] = cbor2.loads(_state(data))
    return body


def _close_checkpoint(value: Any) -> bytes:  # noqa: ANN401  # of any form by now
    state = value.get("state")
    if isinstance(state, dict):
        packed = codec.compress(cbor2.dumps(state, canonical=True))
        value = {**value, "state": packed}
    return repairs.checkpoint(bytes(40) + cbor2.dumps(value, canonical=True))


def _with_state(checkpoint: bytes, packed: bytes) -> bytes:
    body = container.unpack(checkpoint, file_type="checkpoint")
    return container.pack({**body, "state": packed})


def _decode_state(data: bytes) -> LedgerState:
    """As a ledger looks at it that goes on from it."""
    state = LedgerState.load(codec.decode_cbor(data))
    ids = np.array([[number, 0] for number in range(30)], np.uint64)
    state.accounts.slots_of(ids)
    assert state.accounts.count_at(2**63) <= state.accounts.count
    for slot in range(min(3, state.accounts.count)):
        state.accounts.state(slot)
    for position in (0, 1, 2**20):
        state.pending_transfers.status_at(position)
    for id_ in state.pending_transfers.due(2**62, 5):
        assert state.pending_transfers.find(id_) is not None
    state.pending_transfers.numbers_of(ids)
    return state


# --- indexes --------------------------------------------------------------------------------------


def _run_decoder(
    corpus: Corpus, name: str, kind: Kind, read: Callable[[RunFiles, Path], object]
) -> Decoder:
    def decode(data: bytes) -> object:
        storage = MemoryStorage()
        storage.load(corpus.path, {"indexes": {"run": data}})
        folder = Directory(corpus.path).indexes
        return read(RunFiles(storage, folder, LEDGER_ID), folder / "run")

    widths = tuple(dtype.itemsize for dtype in kind.dtypes)
    return Decoder(
        name, decode, tuple(in_folder(corpus.files, "indexes", kind.suffix).values()),
        (CorruptCheckpoint, OSError),
        repairs=(partial(repairs.run_columns, widths), repairs.run),
    )  # fmt: skip


def _read_ids(files: RunFiles, path: Path) -> object:
    """As a ledger asks it for ids."""
    index = TransferIndex()
    run = index.stack.read(files, path.name)
    index.stack.append(run)
    index.know_greatest()
    ids = [1, 3, 32, 100, 2**64, 2**128 - 1, *run.bounds]
    for id_ in ids:
        position = index.find(id_)
        assert position is None or run.span.position_first <= position <= run.span.position_last
    index.contains_any(np.array([[id_ % 2**64, id_ >> 64] for id_ in ids], np.uint64))
    return run


def _read_groups(form: GroupFormat, files: RunFiles, path: Path) -> GroupRun:
    """As queries ask it, and as it is merged with another."""
    run = form.read(files, path)
    positions = np.array([1, 10, 46, 2**40], np.int64)
    moments = PostingView((run,), ()), ReservationView((run,), ())
    for groups in run.groups.values():
        for key in (0, 1, 2**63, *groups.keys[:3].tolist()):
            start, end = groups.bounds(key)
            assert 0 <= start <= end <= len(groups.values[0])
        pieces = list(merge([groups, groups], [0, len(run.span)]))
        assert sum(len(piece.values[0]) for piece in pieces) == 2 * len(groups.values[0])
    if form is POSTINGS:
        moments[0].position_at(10**18 + 5)
        for side in SIDES:
            moments[0].posted(side, 1, positions)
    elif run.size:
        moments[1].total(1, Quantity.DEBITS_PENDING, positions, positions, 2**62)
    return run


# --- the kept tree --------------------------------------------------------------------------------


def _tree_decoder(corpus: Corpus) -> Callable[[bytes], object]:
    segments = corpus.long["segments"]
    head = file_in(corpus.long, "HEAD")
    kept = container.unpack(_kept_tree(corpus), file_type="tree")["subtrees"]

    def decode(data: bytes) -> bytes:
        storage = MemoryStorage()
        storage.load(corpus.path, {"HEAD": head, "segments": segments, "tree": {"subtrees": data}})
        found = read_subtrees(storage, Directory(corpus.path), Reader(corpus.path, storage=storage))
        assert len(found) in (0, len(kept)), "no more is believed than the journal holds"
        return found

    return decode


def _kept_tree(corpus: Corpus) -> bytes:
    return in_folder(corpus.long, "tree")["subtrees"]
