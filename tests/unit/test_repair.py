"""Repair: what comes before the damage is kept, what follows is counted, and no byte is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from nostro import EventTree, LedgerRepaired, Reader, audit, plan_repair, repair, verify
from nostro.journal.errors import (
    CopyFailed,
    DestinationInside,
    DestinationTaken,
    JournalFull,
    JournalTruncated,
    LedgerLocked,
    NothingToRepair,
    OtherLoss,
    WriterPoisoned,
)
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import Event
from nostro.journal.format.frame import FrameHeader, encode_frame
from nostro.journal.format.head import Head, encode_slots, newest
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES
from nostro.projections.checkpoints.witnesses import derived_witnesses
from tests.journals import (
    append,
    commit,
    files_under,
    flip,
    open_writer,
    segment_names,
    transfers,
    write_journal,
)
from tests.ledgers import copy_while_open, create_transfers, open_ledger, write_ledger
from tests.storages import CHANGES, EIO, ENOSPC, DyingStorage, FaultyStorage, Killed


@attrs.frozen
class Sound:
    """A sound ledger before it is damaged."""

    path: Path
    files: dict[str, bytes]
    events: list[Event]
    ends: dict[str, list[tuple[int, int]]]
    """For each segment: (where a record ends, its last position)."""
    head: Head


def events_in(path: Path) -> list[Event]:
    return [event for record in Reader(path).records() for event in record.events()]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    path = tmp_path_factory.mktemp("repair") / "ledger"
    write_ledger(path, records=60)
    ends: dict[str, list[tuple[int, int]]] = {}
    for record in Reader(path).records():
        end = record.offset_bytes + record.header.frame_bytes
        ends.setdefault(record.segment.name, []).append((end, record.position_last))
    head = newest((path / "HEAD").read_bytes(), path=path)
    return Sound(path, files_under(path), events_in(path), ends, head)


@pytest.fixture
def damaged(sound: Sound, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    shutil.copytree(sound.path, tmp_path / "damaged")
    return tmp_path / "damaged"


def check_repair(sound: Sound, damaged: Path, new: Path, kept: int, lost: int) -> LedgerRepaired:
    """Plan, apply, and hold the result against what there was."""
    before = files_under(damaged)
    plan = plan_repair(damaged, witnesses=derived_witnesses)
    assert (plan.position_kept, plan.events_lost) == (kept, lost)
    assert not new.exists()
    report = repair(damaged, new, lose=lost, witnesses=derived_witnesses)
    assert report.plan == attrs.evolve(plan, damage=report.plan.damage)
    assert files_under(damaged) == before
    events = events_in(new)
    assert events[:-1] == sound.events[:kept]
    told = events[-1]
    assert isinstance(told, LedgerRepaired)
    assert (told.position, told.position_kept, told.events_lost) == (kept + 1, kept, lost)
    assert told.ledger_id == sound.head.ledger_id != verify(new).ledger_id
    assert str(damaged.parent) not in told.cause
    check_no_byte_is_lost(sound, damaged, report.quarantine, kept)
    with open_ledger(new) as ledger:
        assert ledger.position == kept + 1
        if kept >= 8:
            create_transfers(ledger, 100_000, 2)
    assert audit(new).passed
    with pytest.raises(NothingToRepair):
        plan_repair(new)
    return told


def check_no_byte_is_lost(sound: Sound, damaged: Path, quarantine: Path, kept: int) -> None:
    """Every segment is its header, the frames that were kept, and what lies in quarantine."""
    for name in segment_names(damaged):
        content = (damaged / "segments" / name).read_bytes()
        ends = [end for end, position in sound.ends.get(name, []) if position <= kept]
        start = max(ends, default=0 if kept < int(name[:20]) - 1 else SEGMENT_HEADER_BYTES)
        rest = quarantine / f"{name}-{start:012d}.dropped"
        if content[start:]:
            assert rest.read_bytes() == content[start:] or not start
        if content[:SEGMENT_HEADER_BYTES] != sound.files[f"segments/{name}"][:512]:
            header = (quarantine / f"{name}-{0:012d}.dropped").read_bytes()
            assert content.startswith(header)
            assert len(header) >= min(512, len(content))
    assert (quarantine / f"HEAD-{0:012d}.dropped").read_bytes() == (damaged / "HEAD").read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flipped_bit_loses_what_follows_it_and_no_more(
    sound: Sound, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Wherever it is in a segment: in a header it loses nothing at all."""
    folder = tmp_path_factory.mktemp("flip")
    damaged = folder / "damaged"
    shutil.copytree(sound.path, damaged)
    name = data.draw(st.sampled_from(segment_names(damaged)))
    path = damaged / "segments" / name
    content = bytearray(path.read_bytes())
    offset = data.draw(st.integers(0, len(content) - 1))
    content[offset] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    last = sound.head.position
    before = [end for end in sound.ends[name] if end[0] <= offset]
    kept = before[-1][1] if before else int(name[:20]) - 1
    if offset < SEGMENT_HEADER_BYTES:
        kept = last
    told = check_repair(sound, damaged, folder / "new", kept, last - kept)
    assert name in told.cause


def _without_head(path: Path) -> None:
    (path / "HEAD").write_bytes(bytes(1_024))


def _without_manifest(path: Path) -> None:
    (path / "MANIFEST").write_bytes(b"NOSTRODF" + bytes(100))


def _with_a_foreign_segment(path: Path) -> None:
    write_journal(path.parent / "other", 30)
    name = segment_names(path.parent / "other")[1]
    assert name not in segment_names(path)
    shutil.copy(path.parent / "other" / "segments" / name, path / "segments")


def _with_another_head(path: Path) -> None:
    write_journal(path.parent / "other", 30)
    shutil.copy(path.parent / "other" / "HEAD", path)


def _without_head_and_first_header(path: Path) -> None:
    _without_head(path)
    first = path / "segments" / segment_names(path)[0]
    first.write_bytes(bytes(SEGMENT_HEADER_BYTES) + first.read_bytes()[SEGMENT_HEADER_BYTES:])


@pytest.mark.parametrize(
    "damage",
    [_without_head, _without_manifest, _with_another_head, _without_head_and_first_header],
)
def test_damage_outside_of_segments_loses_nothing(
    sound: Sound, damaged: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Everything that is there is kept."""
    damage(damaged)
    check_repair(sound, damaged, tmp_path / "new", sound.head.position, 0)


def test_a_foreign_segment_is_put_aside(sound: Sound, damaged: Path, tmp_path: Path) -> None:
    """It is none of ours, and its bytes are kept all the same."""
    _with_a_foreign_segment(damaged)
    plan = plan_repair(damaged)
    assert (plan.position_kept, plan.events_lost) == (sound.head.position, 0)
    report = repair(damaged, tmp_path / "new", lose=0)
    foreign = set(segment_names(damaged)) - set(sound.ends)
    for name in foreign:
        kept = (report.quarantine / f"{name}-{0:012d}.dropped").read_bytes()
        assert kept == (damaged / "segments" / name).read_bytes()


def test_a_missing_segment_loses_itself_and_all_after_it(
    sound: Sound, damaged: Path, tmp_path: Path
) -> None:
    """What is there of later ones is kept as bytes."""
    name = segment_names(damaged)[1]
    (damaged / "segments" / name).unlink()
    kept = int(name[:20]) - 1
    plan = plan_repair(damaged)
    assert (plan.position_kept, plan.events_lost) == (kept, sound.head.position - kept)
    report = repair(damaged, tmp_path / "new", lose=plan.events_lost)
    for later in segment_names(sound.path)[2:]:
        content = (report.quarantine / f"{later}-{0:012d}.dropped").read_bytes()
        assert content == (damaged / "segments" / later).read_bytes()
    assert events_in(tmp_path / "new")[:-1] == sound.events[:kept]


@pytest.mark.parametrize("cut", [1, 40, 1_000])
def test_a_journal_cut_short_is_known_by_head(
    sound: Sound, damaged: Path, tmp_path: Path, cut: int
) -> None:
    """HEAD says how many events there were."""
    path = damaged / "segments" / segment_names(damaged)[-1]
    size = path.stat().st_size - cut
    path.write_bytes(path.read_bytes()[:size])
    kept = [position for end, position in sound.ends[path.name] if end <= size][-1]
    assert plan_repair(damaged).events_lost == sound.head.position - kept  # no checkpoint asked
    check_repair(sound, damaged, tmp_path / "new", kept, sound.head.position - kept)


def test_without_head_later_frames_and_checkpoints_say_what_was_lost(
    sound: Sound, damaged: Path
) -> None:
    """Whatever proves that there was more is counted."""
    (damaged / "HEAD").unlink()
    path = damaged / "segments" / segment_names(damaged)[-1]
    flip(path, 700)
    plan = plan_repair(damaged, witnesses=derived_witnesses)
    assert plan.position_kept + plan.events_lost == sound.head.position
    assert plan.events_lost > 0


def _keep_only(path: Path, *kept: str) -> None:
    """Remove HEAD, the last segments, and every other file that tells how far the journal went."""
    for name in segment_names(path)[2:]:
        (path / "segments" / name).unlink()
    for name in ("HEAD", "MANIFEST"):
        if name not in kept:
            (path / name).unlink()
    for folder in ("checkpoints", "indexes", "tree"):
        if folder not in kept:
            shutil.rmtree(path / folder)


@pytest.mark.parametrize("witness", ["HEAD", "MANIFEST", "checkpoints", "indexes"])
def test_every_witness_of_lost_events_counts(
    sound: Sound, damaged: Path, tmp_path: Path, witness: str
) -> None:
    """With HEAD or without: each of them alone says how many events are lost, at the least."""
    _keep_only(damaged, witness)
    kept = int(segment_names(sound.path)[2][:20]) - 1
    plan = plan_repair(damaged, witnesses=derived_witnesses)
    best = {
        "MANIFEST": int(segment_names(sound.path)[-2][:20]),  # of the last sealed segment
    }.get(witness, sound.head.position)
    assert (plan.position_kept, plan.position_kept + plan.events_lost) == (kept, best)
    with pytest.raises(OtherLoss):
        repair(damaged, tmp_path / "new", lose=0, witnesses=derived_witnesses)


def test_the_tree_is_a_witness_too(tmp_path: Path) -> None:
    """It was made of events that were durable."""
    path = tmp_path / "ledger"
    writer = open_writer(path)
    for first in range(1, 9_001, 1_000):
        commit(writer, first, 1_000)
    writer.close()
    EventTree(path).root()
    _keep_only(path, "tree")
    plan = plan_repair(path, witnesses=derived_witnesses)
    assert plan.position_kept < 8_192 == plan.position_kept + plan.events_lost


def test_one_slot_of_head_and_the_name_of_a_segment_count(sound: Sound, damaged: Path) -> None:
    """HEAD is cut in half, or a segment is there and holds nothing."""
    head = (damaged / "HEAD").read_bytes()
    _keep_only(damaged)
    (damaged / "HEAD").write_bytes(head[:512])
    plan = plan_repair(damaged)
    assert sound.head.position - plan.position_kept - plan.events_lost in (0, 1, 2, 3)
    assert plan.events_lost > 0
    (damaged / "HEAD").unlink()
    last = segment_names(sound.path)[-1]
    (damaged / "segments" / last).write_bytes(b"")
    plan = plan_repair(damaged)
    assert plan.position_kept + plan.events_lost == int(last[:20]) - 1


@pytest.mark.parametrize("witness", ["checkpoints", "indexes"])
def test_opening_is_refused_while_a_derived_file_knows_of_more(
    sound: Sound, damaged: Path, witness: str
) -> None:
    """As after an older copy of HEAD and segments was put over newer files."""
    _keep_only(damaged, witness, "HEAD")
    end, position = sound.ends[segment_names(damaged)[-1]][-1]
    record = Reader(sound.path).record_at(position)
    assert record is not None
    segment = int(segment_names(damaged)[-1][:20])
    head = sound.head._replace(
        position=position, offset_bytes=end, frame_sha256=record.sha256, segment_position=segment
    )
    (damaged / "HEAD").write_bytes(encode_slots(head))
    with pytest.raises(JournalTruncated, match=witness):
        open_ledger(damaged)


def test_a_checkpoint_past_the_end_is_damage(sound: Sound, damaged: Path) -> None:
    """HEAD and segments of an older copy do not hide what was there."""
    segments = segment_names(damaged)
    end, position = sound.ends[segments[-1]][0]
    path = damaged / "segments" / segments[-1]
    path.write_bytes(path.read_bytes()[:end])
    record = Reader(sound.path).record_at(position)
    assert record is not None
    head = sound.head._replace(position=position, offset_bytes=end, frame_sha256=record.sha256)
    (damaged / "HEAD").write_bytes(encode_slots(head))
    with pytest.raises(NothingToRepair):
        plan_repair(damaged)
    plan = plan_repair(damaged, witnesses=derived_witnesses)
    assert (plan.position_kept, plan.events_lost) == (position, sound.head.position - position)
    assert plan.damage.path == path


def test_a_torn_tail_of_before_is_kept_and_not_counted(
    sound: Sound, damaged: Path, tmp_path: Path
) -> None:
    """What lay in quarantine was never acknowledged, whatever its frames say."""
    header = FrameHeader(3, 1, 1_000, 0, 1, 1, sound.head.ledger_id, bytes(32))
    torn = encode_frame(header, b"abc")
    (damaged / "quarantine" / "x.torn").write_bytes(torn)
    _without_manifest(damaged)
    check_repair(sound, damaged, tmp_path / "new", sound.head.position, 0)
    kept = tmp_path / "new" / "quarantine" / f"x.torn-{0:012d}.dropped"
    assert kept.read_bytes() == torn


def test_damage_in_two_places_of_a_segment(sound: Sound, damaged: Path, tmp_path: Path) -> None:
    """Its header loses nothing, the frame what follows; both are kept as bytes."""
    path = damaged / "segments" / segment_names(damaged)[1]
    flip(path, 20)
    flip(path, -20)
    kept = sound.ends[path.name][-2][1]
    check_repair(sound, damaged, tmp_path / "new", kept, sound.head.position - kept)


def test_a_payload_that_is_none_ends_what_is_kept(tmp_path: Path) -> None:
    """Its frame is sound and its CRC fits, but nobody can read events from it."""
    writer = open_writer(tmp_path / "ledger")
    commit(writer, 1)
    for payload, first in ((b"no payload", 2), (codec_payload(3), 3)):
        queued = writer.append(
            payload, kind=RecordKind.TRANSFERS, event_count=1,
            timestamp_min=first * 10, timestamp_max=first * 10,
            generation=writer.generation,
        )  # fmt: skip
        assert queued is not None
        writer.wait(queued)
    writer.close()
    plan = plan_repair(tmp_path / "ledger")
    assert (plan.position_kept, plan.events_lost) == (1, 2)
    repair(tmp_path / "ledger", tmp_path / "new", lose=2)
    assert len(events_in(tmp_path / "new")) == 2


def codec_payload(first: int) -> bytes:
    return codec.encode_rows(codec.RecordKind.TRANSFERS, transfers(first), None)


# --- what is refused ------------------------------------------------------------------------------


def test_a_sound_journal_is_not_repaired(sound: Sound, tmp_path: Path) -> None:
    """Nor one that a crash left torn: opening sees to that."""
    with pytest.raises(NothingToRepair):
        repair(sound.path, tmp_path / "new", lose=0)
    writer = open_writer(tmp_path / "written")
    commit(writer, 1)
    append(writer, 2)
    copy_while_open(tmp_path / "written", tmp_path / "torn")
    writer.close()
    path = tmp_path / "torn" / "segments" / segment_names(tmp_path / "torn")[0]
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: len(content) - 100])
    with pytest.raises(NothingToRepair):
        plan_repair(tmp_path / "torn")
    assert not (tmp_path / "new").exists()


def test_the_loss_must_be_named_exactly(sound: Sound, damaged: Path, tmp_path: Path) -> None:
    """One more or one less, and nothing is done."""
    path = damaged / "segments" / segment_names(damaged)[-1]
    path.write_bytes(path.read_bytes()[:-5])
    lost = plan_repair(damaged).events_lost
    assert lost > 0
    before = files_under(tmp_path)
    for wrong in (lost - 1, lost + 1):
        with pytest.raises(OtherLoss) as caught:
            repair(damaged, tmp_path / "new", lose=wrong)
        assert caught.value.events_lost == lost
    for place, error in (
        (damaged / "new", DestinationInside), (damaged, DestinationInside),
        (sound.path, DestinationTaken),
    ):  # fmt: skip
        with pytest.raises(error):
            repair(damaged, place, lose=lost)
    assert files_under(tmp_path) == before


def test_a_ledger_that_is_written_is_not_looked_at(tmp_path: Path) -> None:
    """What is half-written now is no damage."""
    writer = open_writer(tmp_path / "ledger")
    commit(writer, 1)
    with pytest.raises(LedgerLocked):
        plan_repair(tmp_path / "ledger")
    with pytest.raises(LedgerLocked):
        repair(tmp_path / "ledger", tmp_path / "new", lose=0)
    writer.close()


@pytest.mark.parametrize("failure", ["crash", ENOSPC, EIO])
def test_a_failure_at_any_operation_leaves_no_ledger(
    damaged: Path, tmp_path: Path, failure: str | int
) -> None:
    """There is the whole result or nothing under its name; the source never changes."""
    path = damaged / "segments" / segment_names(damaged)[-2]
    flip(path, -20)
    before, new = files_under(damaged), tmp_path / "new"
    lost = plan_repair(damaged).events_lost
    for fail_at in range(1, 200):
        if isinstance(failure, int):
            storage: FaultyStorage = FaultyStorage(fail_at, failure, for_ever=fail_at % 2 == 0)
        else:
            storage = DyingStorage(fail_at, EIO)
        storage.only = CHANGES - {"open_write"}  # the first is of the source's lock
        try:
            repair(damaged, new, lose=lost, storage=storage)
        except (Killed, CopyFailed, WriterPoisoned, JournalFull):
            pass
        else:
            if storage.calls < fail_at:
                break
        assert files_under(damaged) == before
        if new.exists():
            verify(new)  # the last sync of its parent failed
            shutil.rmtree(new)
    else:
        raise AssertionError("it never came to an end")
    assert fail_at > 20
    assert verify(new).position == plan_repair(damaged).position_kept + 1
