"""TigerBeetle's Python client on a local ledger: ``import nostro.dropin as tigerbeetle``."""

from nostro.projections.dropin import bindings, client, lib
from nostro.projections.dropin.bindings import *
from nostro.projections.dropin.client import *
from nostro.projections.dropin.lib import *

__all__ = ["bindings", "client", "lib"]
__all__ += bindings.__all__
__all__ += client.__all__
__all__ += lib.__all__
