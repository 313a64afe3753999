"""When to try again."""

from __future__ import annotations

from random import Random
from typing import cast

from nostro.projections.tigerbeetle.session.breaker import (
    BACKOFF_SECONDS_MAX,
    BACKOFF_SECONDS_MIN,
    Breaker,
)


class Highest:
    def uniform(self, _: float, highest: float) -> float:
        return highest


def test_each_failure_in_a_row_may_wait_longer() -> None:
    """Twice as long, up to half a minute; a success begins anew."""
    breaker = Breaker(cast("Random", Highest()))
    assert not breaker.is_open
    assert [breaker.failed() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    breaker.succeeded()
    assert breaker.failed() == 0.5


def test_waits_are_spread() -> None:
    """So that many mirrors do not come back at one moment; none is shorter than the least."""
    waits = []
    for seed in range(200):
        breaker = Breaker(Random(seed))
        waits.append([breaker.failed() for _ in range(40)])
    assert all(BACKOFF_SECONDS_MIN <= wait <= BACKOFF_SECONDS_MAX for row in waits for wait in row)
    fifth = [row[4] for row in waits]
    assert max(fifth) > 7
    assert min(fifth) < 1
    assert len(set(fifth)) == 200


def test_any_number_of_failures_is_survived() -> None:
    breaker = Breaker()
    breaker.failures = 10**6
    assert breaker.failed() <= BACKOFF_SECONDS_MAX
