"""Random filters for queries: most of them find something, some are invalid."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

import attrs

from nostro import (
    AMOUNT_MAX,
    AccountFilter,
    AccountFilterFlags,
    QueryFilter,
    QueryFilterFlags,
)
from tests.traffic import ABSENT

LIMITS: Final = (1, 2, 7, 50, 8_189)
"""The last is what fits into one of TigerBeetle's messages."""
_FIELDS: Final[dict[str, tuple[int, ...]]] = {
    "user_data_128": (2**70, 2**70, 2**100),
    "user_data_64": (1, 2**40),
    "user_data_32": (1, 2),
    "code": (1, 2, 9),
    "ledger": (1, 1, 2, 9),
}
_INVALID: Final[tuple[dict[str, int], ...]] = (
    {"limit": 0}, {"timestamp_min": 2**63}, {"timestamp_max": 2**63},
    {"timestamp_min": 2**64 - 1}, {"timestamp_max": 2**64 - 1},
    {"timestamp_min": 2, "timestamp_max": 1},
)  # fmt: skip


def account_filter(
    random: Random, account_ids: Sequence[int], times: Sequence[int]
) -> AccountFilter:
    """For the transfers or the balances of one account."""
    both = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS
    sides = random.choice((both, both, AccountFilterFlags.DEBITS, AccountFilterFlags.CREDITS))
    backwards = random.choice((AccountFilterFlags.NONE, AccountFilterFlags.REVERSED))
    found = AccountFilter(
        random.choice(account_ids),
        **_fields(random, ("user_data_128", "user_data_64", "user_data_32", "code")),
        **_times(random, times),
        limit=random.choice(LIMITS),
        flags=sides | backwards,
    )
    if random.random() < 0.9:
        return found
    flags: tuple[dict[str, int], ...] = (
        {"flags": backwards}, {"flags": both | AccountFilterFlags(8)},
        {"flags": both | AccountFilterFlags(1 << 31)},
    )  # fmt: skip
    ids: tuple[dict[str, int], ...] = (
        {"account_id": 0}, {"account_id": AMOUNT_MAX}, {"account_id": ABSENT},
    )  # fmt: skip
    changes = random.choice((*_INVALID, *flags, *ids))
    return attrs.evolve(found, **changes)  # type: ignore[arg-type]


def query_filter(random: Random, times: Sequence[int]) -> QueryFilter:
    """For accounts or transfers."""
    backwards = random.choice((QueryFilterFlags.NONE, QueryFilterFlags.REVERSED))
    found = QueryFilter(
        **_fields(random, _FIELDS),
        **_times(random, times),
        limit=random.choice(LIMITS),
        flags=backwards,
    )
    if random.random() < 0.9:
        return found
    flags: tuple[dict[str, int], ...] = (
        {"flags": backwards | QueryFilterFlags(2)}, {"flags": QueryFilterFlags(1 << 31)},
    )  # fmt: skip
    changes = random.choice((*_INVALID, *flags))
    return attrs.evolve(found, **changes)  # type: ignore[arg-type]


def _fields(random: Random, names: Sequence[str] | dict[str, tuple[int, ...]]) -> dict[str, int]:
    share = random.choice((0.0, 0.0, 0.2, 0.6))
    return {name: random.choice(_FIELDS[name]) for name in names if random.random() < share}


def _times(random: Random, times: Sequence[int]) -> dict[str, int]:
    """A range between two moments at which something happened, or just beside them."""
    if not times or random.random() < 0.4:
        return {}
    first, last = sorted(random.choice(times) + random.choice((-1, 0, 0, 1)) for _ in range(2))
    if random.random() < 0.05:
        first, last = last, first
    whole: tuple[dict[str, int], ...] = (
        {"timestamp_min": first}, {"timestamp_max": last},
        {"timestamp_min": first, "timestamp_max": last},
        {"timestamp_min": first, "timestamp_max": first},
    )  # fmt: skip
    return random.choice(whole)
