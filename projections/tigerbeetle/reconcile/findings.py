"""What a reconciliation has compared and found; it counts all and keeps the first of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs
import numpy as np

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.errors import Difference
from nostro.projections.tigerbeetle.rows.compare import differences

PRESENCE: Final = "presence"
THERE: Final = "there"
MISSING: Final = "missing"
_KINDS: Final = {"account": RecordKind.ACCOUNTS, "transfer": RecordKind.TRANSFERS}


@attrs.define
class Counts:
    """Of accounts or of transfers."""

    compared: int = 0
    """So many of the journal's were held against the cluster."""
    different: int = 0
    """They are on both sides and not the same."""
    missing: int = 0
    """They are in the journal only."""
    extra: int = 0
    """They are in the cluster only."""


@attrs.define
class Findings:
    """Grows while accounts and transfers are compared."""

    differences_max: int
    accounts: Counts = attrs.field(factory=Counts)
    transfers: Counts = attrs.field(factory=Counts)
    differences: list[Difference] = attrs.field(factory=list)
    """Field by field, the first ``differences_max``."""
    differences_found: int = 0
    """So many there were in all."""

    @property
    def equal(self) -> bool:
        return not self.differences_found

    def note_missing(self, kind: str, ids: Iterable[int]) -> None:
        """They are in the journal only."""
        for id_ in ids:
            self._counts(kind).missing += 1
            self._note(Difference(kind, id_, PRESENCE, THERE, MISSING))

    def note_extra(self, kind: str, ids: Iterable[int]) -> None:
        """They are in the cluster only."""
        for id_ in ids:
            self._counts(kind).extra += 1
            self._note(Difference(kind, id_, PRESENCE, MISSING, THERE))

    def note_different(self, kind: str, journal: Rows, cluster: Rows) -> None:
        """Rows that are on both sides, in the same order; those that are equal do not count."""
        names = journal.dtype.names or ()
        fields = [journal[name] != cluster[name] for name in names]
        unequal = np.array([it.any(1) if it.ndim > 1 else it for it in fields])
        rows = unequal.any(0)
        self._counts(kind).different += int(rows.sum())
        self.differences_found += int(unequal.sum())
        room = self.differences_max - len(self.differences)
        shown = np.flatnonzero(rows)[:room]
        found = differences(_KINDS[kind], journal[shown], cluster[shown], balances=True)
        self.differences += list(found)[:room]

    def dump(self) -> dict[str, Any]:
        """Everything, as CBOR can carry it."""
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
    def load(cls, dump: dict[str, Any], *, differences_max: int) -> Findings:
        """What :meth:`dump` gave.

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

    def _counts(self, kind: str) -> Counts:
        return self.accounts if kind == "account" else self.transfers

    def _note(self, difference: Difference) -> None:
        self.differences_found += 1
        if len(self.differences) < self.differences_max:
            self.differences.append(difference)


def _value(text: str) -> object:
    return int(text) if text.isdecimal() else text
