"""The result of a comparison while it grows: counts of all differences, and the first of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs
import numpy as np

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.errors import Difference
from nostro.projections.tigerbeetle.operations import EVENT_KINDS
from nostro.projections.tigerbeetle.rows.compare import differences

_PRESENCE: Final = "presence"
_THERE: Final = "there"
_MISSING: Final = "missing"


@attrs.define
class Counts:
    """Numbers of accounts, or of transfers."""

    compared: int = 0
    """The journal's rows that were compared."""
    different: int = 0
    """Rows on both sides that differ."""
    missing: int = 0
    """Rows in the journal only."""
    extra: int = 0
    """Rows in the cluster only."""


@attrs.define
class Comparison:
    """Grows while accounts and transfers are compared."""

    differences_max: int
    accounts: Counts = attrs.field(factory=Counts)
    transfers: Counts = attrs.field(factory=Counts)
    differences: list[Difference] = attrs.field(factory=list)
    """Field by field, the first ``differences_max``."""
    differences_found: int = 0
    """The number of all differences."""

    def counts(self, kind: RecordKind) -> Counts:
        return self.accounts if kind is RecordKind.ACCOUNTS else self.transfers

    def note_missing(self, kind: RecordKind, ids: Iterable[int]) -> None:
        """Count rows that are in the journal only."""
        for id_ in ids:
            self.counts(kind).missing += 1
            self._note(Difference(EVENT_KINDS[kind].name, id_, _PRESENCE, _THERE, _MISSING))

    def note_extra(self, kind: RecordKind, ids: Iterable[int]) -> None:
        """Count rows that are in the cluster only."""
        for id_ in ids:
            self.counts(kind).extra += 1
            self._note(Difference(EVENT_KINDS[kind].name, id_, _PRESENCE, _MISSING, _THERE))

    def note_different(self, kind: RecordKind, journal: Rows, cluster: Rows) -> None:
        """Compare rows that are on both sides, in the same order, and count those that differ."""
        names = journal.dtype.names or ()
        fields = [journal[name] != cluster[name] for name in names]
        unequal = np.array([it.any(1) if it.ndim > 1 else it for it in fields])
        rows = unequal.any(0)
        self.counts(kind).different += int(rows.sum())
        self.differences_found += int(unequal.sum())
        room = self.differences_max - len(self.differences)
        shown = np.flatnonzero(rows)[:room]
        found = differences(kind, journal[shown], cluster[shown], balances=True)
        self.differences += list(found)[:room]

    def dump(self) -> dict[str, Any]:
        """Everything in values that CBOR can hold."""
        return {
            "accounts": list(attrs.astuple(self.accounts)),
            "transfers": list(attrs.astuple(self.transfers)),
            "found": self.differences_found,
            "differences": [
                [it.kind, str(it.id), it.field, str(it.journal), str(it.cluster)]
                for it in self.differences
            ],
        }

    @classmethod
    def load(cls, dump: dict[str, Any], *, differences_max: int) -> Comparison:
        """The comparison that :meth:`dump` returned.

        Raises:
            KeyError, TypeError, ValueError: it is malformed.
        """
        differences = [
            Difference(kind, int(id_), field, _value(journal), _value(cluster))
            for kind, id_, field, journal, cluster in dump["differences"]
        ]
        return cls(
            differences_max,
            Counts(*dump["accounts"]),
            Counts(*dump["transfers"]),
            differences[:differences_max],
            int(dump["found"]),
        )

    def _note(self, difference: Difference) -> None:
        self.differences_found += 1
        if len(self.differences) < self.differences_max:
            self.differences.append(difference)


def _value(text: str) -> object:
    return int(text) if text.isdecimal() else text
