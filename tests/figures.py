"""How much the proofs tried: told when pytest ends, and after a long run written down for readers.

A test says what it tried with the fixture ``figure``. Tests that name the same proof make one row,
their counts added up. Nothing is said of a proof of which any case failed.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable
from typing import Any, Final, Protocol

import attrs
import pytest

from nostro.tools.bench.machine import describe_machine
from tests.documents import ROOT

PAGE: Final = ROOT / "docs" / "reliability.md"
_HEADER: Final = re.compile(r"^\| proof \| what was run \|.*\n\|[ -|]*\n", re.MULTILINE)
_PROPERTY: Final = "figure"
_REPLAYS: Final = {"NOSTRO_CASE", "NOSTRO_CUT", "NOSTRO_LEDGER"}
"""With one of these a single case is tried again."""


class Figure(Protocol):
    """Says what a test tried, once it has: the proof, what came of it, and how many of each."""

    def __call__(self, proof: str, result: str, /, *, seed: int | None, **counts: int) -> None: ...


@attrs.define
class Row:
    """What was tried of one proof in one run."""

    proof: str
    result: str
    seed: int | None
    counts: dict[str, int]
    seconds: float

    def line(self, date: str, machine: str) -> str:
        seed = "none" if self.seed is None else self.seed
        result = f"{self.result}, in {self.seconds:,.0f} s"
        return f"| {self.proof} | {self.tried} | {result} | {date} | {machine} | {seed} |\n"

    @property
    def tried(self) -> str:
        return ", ".join(
            f"{count:,} {name.replace('_', ' ')}" for name, count in self.counts.items()
        )


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    def note(proof: str, result: str, /, *, seed: int | None, **counts: int) -> None:
        request.node.user_properties.append((_PROPERTY, [proof, result, seed, counts]))

    return note


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    failed = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
    rows = rows_of(terminalreporter.getreports("passed"), failed)
    if not rows:
        return
    terminalreporter.section("proofs")
    for row in rows:
        terminalreporter.line(f"{row.proof}: {row.tried}: {row.result}, in {row.seconds:,.0f} s")
    if os.environ.get("NOSTRO_CRASH") == "long" and not _REPLAYS & os.environ.keys():
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        lines = {row.proof: row.line(today, this_machine()) for row in rows}
        PAGE.write_text(with_rows(PAGE.read_text(encoding="utf-8"), lines), encoding="utf-8")
        terminalreporter.line(f"written to {PAGE.relative_to(config.rootpath)}")


def rows_of(passed: Iterable[Any], failed: Iterable[Any]) -> list[Row]:
    """One for each proof of which nothing failed, from pytest's reports."""
    broken = {_without_case(report.nodeid) for report in failed}
    rows: dict[str, Row] = {}
    for report in passed:
        if report.when != "call" or _without_case(report.nodeid) in broken:
            continue
        for name, value in report.user_properties:
            if name != _PROPERTY:
                continue
            proof, result, seed, counts = value
            row = rows.setdefault(proof, Row(proof, result, seed, {}, 0.0))
            row.seconds += report.duration
            for counted, count in counts.items():
                row.counts[counted] = row.counts.get(counted, 0) + count
    return list(rows.values())


def _without_case(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def with_rows(page: str, lines: dict[str, str]) -> str:
    """The page with a line for each of these proofs, in place of the one it had.

    Raises:
        ValueError: the page has no table of figures.
    """
    header = _HEADER.search(page)
    if header is None:
        raise ValueError("there is no table of figures")
    rest = page[header.end() :].splitlines(keepends=True)
    size = next((n for n, line in enumerate(rest) if not line.startswith("|")), len(rest))
    new = dict(lines)
    table = [new.pop(line.split("|")[1].strip(), line) for line in rest[:size]]
    return "".join([page[: header.end()], *table, *new.values(), *rest[size:]])


def this_machine() -> str:
    """Processor, memory, system, Python, the code's commit, and how busy it was at the end."""
    about = describe_machine(ROOT)
    return (
        f"{about['processor']}, {about['memory']}, {about['system'].partition('-')[0]},"
        f" Python {about['python']}, load {os.getloadavg()[2]:.0f}, commit {about['commit'][:9]}"
    )
