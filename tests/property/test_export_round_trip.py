"""Whatever happened in a ledger: its export, read back, is the same ledger."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given, settings

from nostro import Reader, audit, restore
from nostro.tools.exporting import Selection, export_json_lines, import_export
from tests.property.test_every_position import write


def export(path: Path, file: Path) -> None:
    with file.open("wb") as out:
        export_json_lines(Reader(path), out.write, Selection())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.floats(0, 1))
def test_an_export_read_back_is_the_same_ledger(seed: int, cut: float) -> None:
    """Events, positions, requests and state; of a restored part, too, with its origin."""
    with tempfile.TemporaryDirectory() as folder:
        first, second, file = Path(folder) / "first", Path(folder) / "second", Path(folder) / "x"
        write(Path(folder) / "whole", seed, 16)
        position = Reader(Path(folder) / "whole").head().position
        restore(Path(folder) / "whole", first, until_position=round(cut * position))
        export(first, file)
        imported = import_export(file, second)
        records = list(zip(Reader(first).records(), Reader(second).records(), strict=True))
        for before, after in records:
            assert before.encoded == after.encoded
            assert before.header[1:3] == after.header[1:3]
            assert (before.timestamp_min, before.timestamp_max) == (
                after.timestamp_min,
                after.timestamp_max,
            )
        report = audit(second)
        assert imported.state_sha256 == audit(first).state_sha256 == report.state_sha256
        assert (imported.position, imported.requests) == (report.position, len(records))
        again = Path(folder) / "y"
        export(second, again)
        assert again.read_bytes().splitlines()[1:-1] == file.read_bytes().splitlines()[1:-1]
