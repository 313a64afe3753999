"""Dates in cells, and the timestamps that rows get from them.

A row happens on its date, but no two events of a ledger may share a timestamp. So each row owns a
slot of four nanoseconds: its transfer stands at the end of the slot, and the accounts that it is
the first to name stand three and two nanoseconds before. Slots follow each other in the order of
rows, which depends on nothing but the file: every run gives the same timestamps.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import itertools
import re
import zoneinfo
from collections.abc import Callable
from typing import Final

from nostro.journal import TIMESTAMP_MAX
from nostro.tools.amounts import AmountError, WrittenAmounts, format_amount
from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.mapping import DateRule
from nostro.tools.times import (
    DAY_NS,
    SECOND_NS,
    format_rfc3339,
    nanoseconds,
    parse_day,
    parse_rfc3339,
)

SLOT_NS: Final = 4

_CACHED_MAX: Final = 50_000
_UNIX_DECIMALS: Final = {"unix_s": 9, "unix_ms": 6, "unix_ns": 0}
_ADJACENT: Final = re.compile(r"%[dmyYHIMSj]%[dmyYHIMSj]")
"""A zero that a spreadsheet dropped moves a digit from one number to the next."""
_TIME_OF_DAY: Final = re.compile(r"%[HIMSfcXs]")


class DateReader:
    """Turns a cell into nanoseconds since the epoch; a day, into its first nanosecond (UTC)."""

    def __init__(self, rule: DateRule) -> None:
        self._parse = _parser(rule)
        self._cached = functools.lru_cache(_CACHED_MAX)(self._read)

    def read(self, text: str) -> int:
        """Return the date's nanoseconds.

        Raises:
            RowRefused: empty, unreadable, or outside the years 1970 to 2262.
        """
        return self._cached(text)[0]

    def written(self, text: str) -> str:
        """Return the one way to write this date in this format: ``1.5.2024`` is ``01.05.2024``.

        Raises:
            RowRefused: as :meth:`read`.
        """
        return self._cached(text)[1]

    def _read(self, text: str) -> tuple[int, str]:
        if not text:
            raise RowRefused("date is empty")
        try:
            date, written = self._parse(text)
        except (ValueError, OverflowError):
            raise RowRefused("date is unreadable", repr(text)) from None
        if not 0 <= date <= TIMESTAMP_MAX - DAY_NS:
            raise RowRefused("date is outside the years 1970 to 2262", repr(text))
        return date, written


class Timeline:
    """Hands out the rows' timestamps, in order.

    A date without a time of day leaves room for accounts at the start of the day; an exact time
    is kept exactly, unless the row before it is less than a slot away.
    """

    def __init__(self, rule: DateRule, *, now: int) -> None:
        self._lead = 0 if has_time_of_day(rule.format) else SLOT_NS
        self._now = now
        self._date_last = 0
        self._timestamp_last = 0

    def stamp(self, date: int) -> int:
        """Return the timestamp of the next row, whose date is ``date`` nanoseconds.

        Raises:
            RowRefused: earlier than the row before, or in the future.
        """
        if date < self._date_last:
            before = format_rfc3339(self._date_last)
            raise RowRefused("date is earlier than that of the row before", f"after {before}")
        timestamp = max(date + self._lead, self._timestamp_last + SLOT_NS)
        if timestamp >= self._now:
            raise RowRefused("date lies in the future", format_rfc3339(date))
        self._date_last = date
        self._timestamp_last = timestamp
        return timestamp


def has_time_of_day(form: str) -> bool:
    """Whether dates in this format are instants rather than days."""
    return "%" not in form or bool(_TIME_OF_DAY.search(form))


def resolution_ns(form: str) -> int:
    """Return how far a timestamp may lie behind the date that it comes from.

    Rows of one date follow each other in slots: within the day, or the second, or, if the format
    has parts of a second, within a millisecond.
    """
    if not has_time_of_day(form):
        return DAY_NS
    return SECOND_NS if "%" in form and "%f" not in form else SECOND_NS // 1_000


def _parser(rule: DateRule) -> Callable[[str], tuple[int, str]]:
    form = rule.format
    if form == "rfc3339":
        return _rfc3339
    if form in _UNIX_DECIMALS:
        decimals = _UNIX_DECIMALS[form]
        return functools.partial(_unix, WrittenAmounts(decimals), decimals)
    if rule.zone is None:
        exact = bool(_ADJACENT.search(form))
        return lambda text: _strptime(text, form, exact=exact)
    return _LocalTime(rule).parse


def _rfc3339(text: str) -> tuple[int, str]:
    day = parse_day(text)
    if day is not None:
        return day, text
    date = parse_rfc3339(text)
    return date, format_rfc3339(date).rstrip("0Z").rstrip(".") + "Z"


def _unix(seconds: WrittenAmounts, decimals: int, text: str) -> tuple[int, str]:
    try:
        date = seconds.read(text)
    except AmountError:
        raise ValueError(text) from None
    written = format_amount(date, decimals)
    return date, written.rstrip("0").rstrip(".") if decimals else written


def _strptime(text: str, form: str, *, exact: bool) -> tuple[int, str]:
    moment = datetime.datetime.strptime(text, form)  # noqa: DTZ007 - the zone is set below
    if exact and len(text) != len(moment.strftime(form)):
        raise ValueError(text)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return nanoseconds(aware), moment.strftime(form)


class _LocalTime:
    """Reads times of day in a zone; the zone's short names for its times (EDT) if asked."""

    def __init__(self, rule: DateRule) -> None:
        self._zone = zoneinfo.ZoneInfo(str(rule.zone))
        self._key = str(rule.zone)
        self._ambiguous = rule.ambiguous
        self._exact = bool(_ADJACENT.search(rule.format))
        self._forms = {"": str(rule.format)}
        if "%Z" in rule.format:
            months = itertools.product(range(1970, 2038), range(1, 13))
            starts = (datetime.datetime(*month, 1, tzinfo=self._zone) for month in months)
            names = {start.tzname() or "" for start in starts}
            self._forms = {
                name: rule.format.replace("%Z", name)
                for name in sorted(names, key=len, reverse=True)
            }

    def parse(self, text: str) -> tuple[int, str]:
        """Return the nanoseconds, and the time as the format writes it."""
        for name, form in self._forms.items():
            if name in text:
                with contextlib.suppress(ValueError):
                    local = datetime.datetime.strptime(text, form)  # noqa: DTZ007 - it is local
                    if self._exact and len(text) != len(local.strftime(form)):
                        continue
                    return nanoseconds(self._instant(local, name, text)), local.strftime(form)
        raise ValueError(text)

    def _instant(self, local: datetime.datetime, name: str, text: str) -> datetime.datetime:
        first, second = (local.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        if first.astimezone(datetime.UTC).astimezone(self._zone).replace(tzinfo=None) != local:
            raise RowRefused(f"date does not exist in {self._key}: clocks skip it", repr(text))
        chosen = [first] if first.utcoffset() == second.utcoffset() else [first, second]
        if name:
            chosen = [moment for moment in chosen if moment.tzname() == name]
            if not chosen:
                raise RowRefused(f"date has a zone name that {self._key} does not use", repr(text))
        if len(chosen) > 1 and self._ambiguous is None:
            raise RowRefused(f"date happens twice in {self._key}: set date.ambiguous", repr(text))
        return chosen[-1 if self._ambiguous == "later" else 0]
