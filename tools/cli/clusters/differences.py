"""Differences between a journal and a cluster, as JSON has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nostro.projections.tigerbeetle.errors import Difference


def differences_json(differences: Iterable[Difference]) -> list[dict[str, Any]]:
    """One object each; ids and values as text, for not every reader of JSON has 128 bits."""
    return [
        {
            "kind": it.kind,
            "id": str(it.id),
            "field": it.field,
            "journal": str(it.journal),
            "cluster": str(it.cluster),
        }
        for it in differences
    ]
