"""TigerBeetle's Python client, release 0.17, on a ledger in a directory of this machine.

A program written for the ``tigerbeetle`` package runs after changing one import::

    import nostro.dropin as tigerbeetle

Names, numbers, arguments, results and errors are the package's; :mod:`client` says where the data
lies. docs/guides/dropin.md lists the differences.
"""

from nostro.projections.dropin import bindings, client, lib
from nostro.projections.dropin.bindings import *
from nostro.projections.dropin.client import *
from nostro.projections.dropin.lib import *

__all__ = ["bindings", "client", "lib"]
__all__ += bindings.__all__
__all__ += client.__all__
__all__ += lib.__all__
