"""TigerBeetle's Python client on a local ledger: ``import nostro.dropin as tigerbeetle``."""

from nostro.projections.dropin import *  # noqa: F403  # everything it lists in __all__
