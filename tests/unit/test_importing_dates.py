"""Dates: read exactly, and turned into timestamps that no two events share."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.tools.importing.dates import SLOT_NS, DateReader, Timeline, has_time_of_day
from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.mapping import DateFormat, DateRule, Name
from nostro.tools.times import DAY_NS, format_day, format_rfc3339, parse_instant, parse_rfc3339

DAY = 725_846_400_000_000_000  # 1993-01-01
NOW = 1_700_000_000_000_000_000


def rule(form: str) -> DateRule:
    return DateRule(column=(Name("date"),), format=DateFormat(form))


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("%y%m%d", "930101", DAY),
        ("%d.%m.%Y", "01.01.1993", DAY),
        ("%Y-%m-%d %H:%M", "1993-01-01 00:01", DAY + 60 * 10**9),
        ("%Y-%m-%dT%H:%M:%S%z", "1993-01-01T02:00:00+0200", DAY),
        ("rfc3339", "1993-01-01T00:00:00.123456789Z", DAY + 123456789),
        ("rfc3339", "1993-01-01T01:00:00+01:00", DAY),
        ("rfc3339", "1993-01-01", DAY),
        ("unix_s", "725846400", DAY),
        ("unix_s", "725846400.5", DAY + 5 * 10**8),
        ("unix_ms", "725846400000", DAY),
        ("unix_ns", "725846400000000001", DAY + 1),
    ],
)
def test_a_date_is_read_to_the_nanosecond(form: str, text: str, expected: int) -> None:
    """Each format gives the instant it names, in UTC unless it says otherwise."""
    assert DateReader(rule(form)).read(text) == expected


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        ("%y%m%d", "", "date is empty"),
        ("%y%m%d", "931301", "date is unreadable"),
        ("%y%m%d", "930229", "date is unreadable"),
        ("rfc3339", "1993-01-01T00:00:00", "date is unreadable"),
        ("unix_ns", "1.5", "date is unreadable"),
        ("unix_ns", "NaN", "date is unreadable"),
        ("unix_ns", "-1", "date is outside the years 1970 to 2262"),
        ("%Y-%m-%d", "1969-12-31", "date is outside the years 1970 to 2262"),
        ("%Y-%m-%d", "2300-01-01", "date is outside the years 1970 to 2262"),
    ],
)
def test_an_unreadable_date_is_refused_with_its_reason(form: str, text: str, reason: str) -> None:
    """No date is guessed."""
    with pytest.raises(RowRefused) as caught:
        DateReader(rule(form)).read(text)
    assert caught.value.reason == reason


@given(st.lists(st.integers(0, 40), min_size=1).map(sorted))
def test_timestamps_rise_by_a_slot_and_stay_in_their_day(days: list[int]) -> None:
    """Rows of one day follow each other, with room for two accounts before each transfer."""
    timeline = Timeline(rule("%y%m%d"), now=NOW)
    stamps = [timeline.stamp(DAY + day * DAY_NS) for day in days]
    assert all(later - earlier >= SLOT_NS for earlier, later in itertools.pairwise(stamps))
    for day, stamp in zip(days, stamps, strict=True):
        assert (stamp - DAY) // DAY_NS == day
        assert (stamp - 3 - DAY) // DAY_NS == day  # its accounts, too


def test_the_same_rows_get_the_same_timestamps_on_every_run() -> None:
    """The clock has no part in them."""
    dates = [DAY, DAY, DAY + DAY_NS]
    runs = [
        [timeline.stamp(date) for date in dates]
        for timeline in (Timeline(rule("%y%m%d"), now=NOW), Timeline(rule("%y%m%d"), now=NOW + 1))
    ]
    assert runs[0] == runs[1] == [DAY + 4, DAY + 8, DAY + DAY_NS + 4]


def test_an_exact_time_is_kept_exactly() -> None:
    """Only rows closer together than a slot are moved, and by nanoseconds."""
    timeline = Timeline(rule("unix_ns"), now=NOW)
    assert [timeline.stamp(DAY + n) for n in (0, 1000, 1000, 1001)] == [
        DAY,
        DAY + 1000,
        DAY + 1004,
        DAY + 1008,
    ]


def test_the_very_first_instant_has_room_for_its_accounts() -> None:
    """No timestamp is 0, which would mean none."""
    assert Timeline(rule("unix_ns"), now=NOW).stamp(0) == SLOT_NS


@pytest.mark.parametrize(
    ("dates", "reason"),
    [
        ([DAY, DAY - DAY_NS], "date is earlier than that of the row before"),
        ([NOW], "date lies in the future"),
    ],
)
def test_a_date_that_cannot_follow_is_refused(dates: list[int], reason: str) -> None:
    """Out of order, or in the future: the ledger would refuse it."""
    timeline = Timeline(rule("unix_ns"), now=NOW)
    *before, last = dates
    for date in before:
        timeline.stamp(date)
    with pytest.raises(RowRefused) as caught:
        timeline.stamp(last)
    assert caught.value.reason == reason


def test_a_refused_row_leaves_no_trace_in_the_timeline() -> None:
    """The rows after a bad one get the timestamps they would have got without it."""
    timeline = Timeline(rule("%y%m%d"), now=NOW)
    timeline.stamp(DAY)
    with pytest.raises(RowRefused):
        timeline.stamp(DAY - DAY_NS)
    with pytest.raises(RowRefused):
        timeline.stamp(NOW)
    assert timeline.stamp(DAY) == DAY + 8


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%y%m%d", False),
        ("%d/%m/%Y", False),
        ("%Y-%m-%d %H:%M", True),
        ("%c", True),
        ("unix_s", True),
    ],
)
def test_days_and_instants_are_told_apart(form: str, expected: bool) -> None:
    """A format without a time of day means whole days."""
    assert has_time_of_day(form) is expected


@given(st.integers(0, 2**63 - 1))
def test_times_are_shown_and_read_back_exactly(timestamp: int) -> None:
    """All nine decimals survive."""
    assert parse_rfc3339(format_rfc3339(timestamp)) == timestamp


def test_a_bare_date_is_the_end_or_the_start_of_its_day() -> None:
    """What "at" a day means: everything that happened on it."""
    assert parse_instant("1993-01-01", day_end=False) == DAY
    assert parse_instant("1993-01-01", day_end=True) == DAY + DAY_NS - 1
    assert parse_instant(str(DAY), day_end=True) == DAY
    assert format_day(DAY + DAY_NS - 1) == "1993-01-01"


@pytest.mark.parametrize(
    "text", ["", "1993", "yesterday", "1993-13-01", "1969-12-31", "-5", "9" * 30]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """A year alone is nanoseconds; everything else here is nothing."""
    if text == "1993":
        assert parse_instant(text, day_end=True) == 1993
        return
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the command line's business
        parse_instant(text, day_end=True)
