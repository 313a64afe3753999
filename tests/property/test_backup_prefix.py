"""Whatever is written, rotated and backed up in whatever order: a backup is a prefix."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given, settings

from nostro import backup, verify
from nostro.journal.reading.reader import Reader
from tests.journals import append, commit, files_under, ids_in, open_writer, segment_names

COPIES = ("one", "two")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 30)),
        st.tuples(st.just("reopen"), st.sampled_from([4096, 5000, 9000])),
        st.tuples(st.just("backup"), st.integers(0, len(COPIES) - 1)),
        st.tuples(st.just("link"), st.integers(0, len(COPIES) - 1)),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_each_backup_is_the_journal_up_to_that_moment(steps: list[tuple[str, int]]) -> None:
    """Incremental or not, linked or not, beside a writer with a record in line."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        writer = open_writer(source)
        expected: dict[Path, int] = {}
        for name, number in steps:
            if name == "write":
                commit(writer, writer.head.position + 1, number)
            elif name == "reopen":
                writer.close()
                writer = open_writer(source, segment_bytes_max=number)
            else:
                copy = Path(folder) / COPIES[number]
                position = writer.head.position
                in_line = append(writer, position + 1)
                backup(source, copy, link=name == "link")
                expected[copy] = position
                writer.wait(in_line)
        writer.close()
        ends = {record.position_last: record.sha256 for record in Reader(source).records()}
        whole = files_under(source / "segments")
        for copy, position in expected.items():
            found = verify(copy)
            assert (found.position, found.bytes_past_head) == (position, 0)
            assert found.frame_sha256 == ends.get(position, bytes(32))
            assert ids_in(copy) == list(range(1, position + 1))
            for segment in segment_names(copy):
                assert whole[segment].startswith(files_under(copy / "segments")[segment])
