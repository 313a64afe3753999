"""The time of the next event: the clock's, or just after the newest event, within bounds."""

from __future__ import annotations

from typing import Final

from nostro.journal.errors import InvalidField, WrongClock

CLOCK_LEAD_SECONDS_MAX: Final = 60.0
"""How far the newest event may be ahead of the clock. A clock that is kept by NTP is set back by
less; more means that some events were recorded by a clock that was wrong."""

CLOCK_MAX: Final = 7_258_118_400 * 10**9
"""The year 2200, ns. The last timestamp there is comes 62 years later: a ledger never runs out."""

_NS_PER_SECOND: Final = 10**9


def lead_ns(seconds: float) -> float:
    """The bound in nanoseconds.

    Raises:
        InvalidField: it is negative, or not a number.
    """
    if not seconds >= 0:
        raise InvalidField("clock_lead_seconds_max", seconds, "cannot be negative")
    return seconds * _NS_PER_SECOND


def next_timestamp(clock: int, newest: int, lead_ns_max: float) -> int:
    """The time for the next event, ns.

    Args:
        newest: the highest timestamp so far; 0 if there is none.
        lead_ns_max: how far it may be ahead of the clock.

    Raises:
        WrongClock: it is further ahead, or the clock is past the year 2200.
    """
    if newest - clock > lead_ns_max or clock > CLOCK_MAX:
        raise WrongClock(clock, newest)
    return max(clock, newest + 1)
