"""Instants as people write them: RFC 3339 text, bare dates, integer nanoseconds.

Every instant in the journal is an integer: nanoseconds since the Unix epoch, in UTC. Python's own
``datetime`` stops at microseconds, so the fraction is handled here as text and stays exact.
"""

from __future__ import annotations

import datetime
import re
from typing import Final

from nostro.journal import TIMESTAMP_MAX

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_BARE_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def nanoseconds(moment: datetime.datetime) -> int:
    """Return an aware ``moment`` as nanoseconds since the epoch, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1_000


def parse_rfc3339(text: str) -> int:
    """Return the nanoseconds of ``2024-05-01T12:00:00.123456789Z``; an offset is required.

    Raises:
        ValueError: not RFC 3339, no such day or time, or more than nine decimals.
    """
    match = _RFC3339.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    day, time, fraction, zone = match.groups()
    offset = "+00:00" if zone in "Zz" else zone
    whole = nanoseconds(datetime.datetime.fromisoformat(f"{day}T{time}{offset}"))
    return whole + int((fraction or "").ljust(9, "0"))


def parse_day(text: str) -> int | None:
    """Return the first nanosecond of a bare date ``1993-05-01`` (UTC), or None if it is not one.

    Raises:
        ValueError: it looks like a date but there is no such day.
    """
    text = text.strip()
    if _BARE_DATE.fullmatch(text) is None:
        return None
    return nanoseconds(datetime.datetime.fromisoformat(text + "T00:00:00+00:00"))


def parse_instant(text: str, *, day_end: bool) -> int:
    """Return the nanoseconds of a bare date, an RFC 3339 time or an integer of nanoseconds.

    A bare date means the last nanosecond of that UTC day with ``day_end``, else its first.

    Raises:
        ValueError: none of the three, or outside 1 to 2**63 - 1.
    """
    day = parse_day(text)
    if day is not None:
        instant = day + DAY_NS - 1 if day_end else day
    elif text.strip().isdecimal() and text.isascii():
        instant = int(text)
    else:
        instant = parse_rfc3339(text)
    if not 0 <= instant <= TIMESTAMP_MAX:
        raise ValueError(f"outside the years 1970 to 2262: {text!r}")
    return instant


def format_rfc3339(timestamp: int) -> str:
    """Return ``1993-05-01T00:00:00.000000004Z``: always nine decimals, always UTC."""
    return f"{_seconds_text(timestamp, 'T')}.{timestamp % SECOND_NS:09d}Z"


def format_plain(timestamp: int) -> str:
    """Return ``1993-05-01 00:00:00.000000004``, the form used in tables (UTC)."""
    return f"{_seconds_text(timestamp, ' ')}.{timestamp % SECOND_NS:09d}"


def format_day(timestamp: int) -> str:
    """Return the UTC day, ``1993-05-01``."""
    return _seconds_text(timestamp, " ")[:10]


def _seconds_text(timestamp: int, separator: str) -> str:
    moment = _EPOCH + datetime.timedelta(seconds=timestamp // SECOND_NS)
    return moment.replace(tzinfo=None).isoformat(separator)
