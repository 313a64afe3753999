"""Reports about a journal and a cluster as JSON."""

from __future__ import annotations

from typing import Any

import attrs

from nostro.projections.tigerbeetle.errors import Difference


def report_json(report: attrs.AttrsInstance) -> dict[str, Any]:
    """The report's fields as JSON values.

    Differences and the cluster's id are text, because few JSON readers take integers of 128 bits.
    """
    return attrs.asdict(report, value_serializer=_plain)


def _plain(owner: object, field: attrs.Attribute[object] | None, value: object) -> object:
    if isinstance(owner, Difference) or (field is not None and field.name == "cluster_id"):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return round(value, 3) if isinstance(value, float) else value
