"""What every test shares: the terms on which Hypothesis runs, and that no cluster is configured."""

from __future__ import annotations

import os

from hypothesis import settings

for _name in ("TIGERBEETLE_CLUSTER_ID", "TIGERBEETLE_REPLICAS"):
    os.environ.pop(_name, None)  # else every ledger of every test would be mirrored

# A slow fdatasync is no failure, so no example has a deadline; pytest-timeout catches a hang.
# All else is Hypothesis's own: at random on a desk, derandomized where CI is set.
settings.register_profile("nostro", deadline=None)
settings.load_profile("nostro")
