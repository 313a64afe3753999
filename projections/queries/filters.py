"""Filters: checked, and turned into the selection of rows that they ask for."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import InvalidField
from nostro.journal.model import (
    AMOUNT_MAX,
    BATCH_EVENTS_MAX,
    FIELD_BITS,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    AccountFilter,
    AccountFilterFlags,
    QueryFilter,
    QueryFilterFlags,
    Rows,
)
from nostro.journal.rows import integer, u128_words
from nostro.projections.indexes.posting_index import COARSE, SIDES

RESULTS_MAX: Final = BATCH_EVENTS_MAX
"""The most results of one query, for any greater limit. TigerBeetle's is 8,189."""

F = TypeVar("F", AccountFilter, QueryFilter)

_FIELDS: Final = {
    kind: tuple(field.name for field in attrs.fields(kind)) for kind in (AccountFilter, QueryFilter)
}
_BITS: Final = {**FIELD_BITS, "flags": 32}
_ACCOUNT_FLAGS: Final = int(
    AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS | AccountFilterFlags.REVERSED
)
_SIDES: Final = dict(
    zip((AccountFilterFlags.DEBITS, AccountFilterFlags.CREDITS), SIDES, strict=True)
)


@attrs.frozen
class Selection:
    """A valid filter: the values that fields must have, the times, and the limit."""

    sides: tuple[str, ...]
    """The account must be in one of these fields; empty: any account matches."""
    account_id: int
    values: dict[str, int]
    timestamp_min: int
    timestamp_max: int
    limit: int
    is_reversed: bool
    slot: int = -1
    """The account's slot, once it is known; the index groups ``sides`` by it."""

    def matches(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which of the rows, ``ACCOUNT[n]`` or ``TRANSFER[n]``, match."""
        times = rows["timestamp"]
        mask: npt.NDArray[np.bool_] = (times >= np.uint64(self.timestamp_min)) & (
            times <= np.uint64(self.timestamp_max)
        )
        if self.sides:
            either = np.zeros(len(rows), np.bool_)
            for field in self.sides:
                either |= _equals(rows[field], self.account_id)
            mask &= either
        for field, value in self.values.items():
            mask &= _equals(rows[field], value)
        return mask


def account_selection(filter: AccountFilter) -> Selection | None:
    """The selection of an account filter; None if the filter is invalid and selects nothing.

    Raises:
        InvalidField: a field is not an integer or does not fit.
    """
    filter = _checked(filter, AccountFilter)
    flags = int(filter.flags)
    sides = tuple(field for flag, field in _SIDES.items() if flags & flag)
    if not sides or flags & ~_ACCOUNT_FLAGS or filter.account_id in (0, AMOUNT_MAX):
        return None
    return _selection(filter, sides, filter.account_id, bool(flags & AccountFilterFlags.REVERSED))


def query_selection(filter: QueryFilter) -> Selection | None:
    """The selection of a query filter; None if the filter is invalid and selects nothing.

    Raises:
        InvalidField: a field is not an integer or does not fit.
    """
    filter = _checked(filter, QueryFilter)
    if int(filter.flags) & ~int(QueryFilterFlags.REVERSED):
        return None
    return _selection(filter, (), 0, bool(filter.flags & QueryFilterFlags.REVERSED))


def _selection(
    filter: AccountFilter | QueryFilter, sides: tuple[str, ...], account_id: int, is_reversed: bool
) -> Selection | None:
    first, last = filter.timestamp_min, filter.timestamp_max
    if max(first, last) > TIMESTAMP_MAX or not filter.limit or 0 < last < first:
        return None
    names = ("user_data_128", "user_data_64", "user_data_32", *COARSE)
    return Selection(
        sides=sides,
        account_id=account_id,
        values={name: value for name in names if (value := getattr(filter, name, 0))},
        timestamp_min=first or TIMESTAMP_MIN,
        timestamp_max=last or TIMESTAMP_MAX,
        limit=min(filter.limit, RESULTS_MAX),
        is_reversed=is_reversed,
    )


def _checked(filter: F, kind: type[F]) -> F:
    """The filter, its fields as Python ints."""
    if not isinstance(filter, kind):
        reason = f"must be an instance of {kind.__name__}, not {type(filter).__name__}"
        raise InvalidField("filter", filter, reason)
    values = {name: integer(name, getattr(filter, name)) for name in _FIELDS[kind]}
    for name, value in values.items():
        if value < 0:
            raise InvalidField(name, value, "cannot be negative")
        if value >= 1 << _BITS[name]:
            raise InvalidField(name, value, f"does not fit in {_BITS[name]} bits")
    return kind(**values)  # type: ignore[arg-type]  # The flags stay a plain int.


def _equals(column: npt.NDArray[Any], value: int) -> npt.NDArray[np.bool_]:
    if column.ndim == 1:
        same: npt.NDArray[np.bool_] = column == column.dtype.type(value)
        return same
    low, high = u128_words(value)
    same = column[:, 0] == np.uint64(low)
    same &= column[:, 1] == np.uint64(high)
    return same
