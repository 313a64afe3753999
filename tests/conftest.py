"""What every test shares: only the terms on which Hypothesis runs."""

from __future__ import annotations

from hypothesis import settings

# A slow fdatasync is no failure, so no example has a deadline; pytest-timeout catches a hang.
# All else is Hypothesis's own: at random on a desk, derandomized where CI is set.
settings.register_profile("nostro", deadline=None)
settings.load_profile("nostro")
