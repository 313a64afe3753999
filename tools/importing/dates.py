"""Dates in cells, and the timestamps that rows get from them.

A row happens on its date, but no two events of a ledger may share a timestamp. So each row owns a
slot of four nanoseconds: its transfer stands at the end of the slot, and the accounts that it is
the first to name stand three and two nanoseconds before. Slots follow each other in the order of
rows, which depends on nothing but the file: every run gives the same timestamps.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable
from typing import Final

from nostro.journal import TIMESTAMP_MAX
from nostro.tools.amounts import AmountError, parse_amount
from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.mapping import DateRule
from nostro.tools.times import DAY_NS, format_rfc3339, nanoseconds, parse_day, parse_rfc3339

SLOT_NS: Final = 4

_CACHED_MAX: Final = 50_000
_UNIX_DECIMALS: Final = {"unix_s": 9, "unix_ms": 6, "unix_ns": 0}
_TIME_OF_DAY: Final = re.compile(r"%[HIMSfcXs]")


class DateReader:
    """Turns a cell into nanoseconds since the epoch; a day, into its first nanosecond (UTC)."""

    def __init__(self, rule: DateRule) -> None:
        self._parse = _parser(rule.format)
        self._cached = functools.lru_cache(_CACHED_MAX)(self._read)

    def read(self, text: str) -> int:
        """Return the date's nanoseconds.

        Raises:
            RowRefused: empty, unreadable, or outside the years 1970 to 2262.
        """
        return self._cached(text)

    def _read(self, text: str) -> int:
        if not text:
            raise RowRefused("date is empty")
        try:
            date = self._parse(text)
        except (ValueError, OverflowError):
            raise RowRefused("date is unreadable", repr(text)) from None
        if not 0 <= date <= TIMESTAMP_MAX - DAY_NS:
            raise RowRefused("date is outside the years 1970 to 2262", repr(text))
        return date


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


def _parser(form: str) -> Callable[[str], int]:
    if form == "rfc3339":
        return _rfc3339
    if form in _UNIX_DECIMALS:
        decimals = _UNIX_DECIMALS[form]
        return lambda text: _unix(text, decimals)
    return lambda text: _strptime(text, form)


def _rfc3339(text: str) -> int:
    day = parse_day(text)
    return parse_rfc3339(text) if day is None else day


def _unix(text: str, decimals: int) -> int:
    try:
        return parse_amount(text, decimals)
    except AmountError:
        raise ValueError(text) from None


def _strptime(text: str, form: str) -> int:
    moment = datetime.datetime.strptime(text, form)  # noqa: DTZ007 - the zone is set below
    return nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC))
