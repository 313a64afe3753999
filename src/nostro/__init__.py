"""A durable double-entry ledger: an append-only journal of facts, and what follows from it.

Everything public is here: ``from nostro import Ledger, Account, Transfer, id``. It is loaded at
first use: that takes half a second, and the command must answer Ctrl-C before.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nostro import journal
    from nostro.journal import *
    from nostro.projections import (
        AccountFailed,
        AccountNotFound,
        AsyncClusterLedger,
        AsyncLedger,
        AuditReport,
        ChainNotChecked,
        ChangeEvent,
        ChangeEventType,
        Checkpoint,
        ClusterConfiguration,
        ClusterLedger,
        InsufficientBalance,
        Ledger,
        LedgerClient,
        OpenReport,
        PastLedger,
        Projection,
        Refused,
        RefusedTransfer,
        Runner,
        TransferFailed,
        TransferWithBalances,
        audit,
        change_events,
        open_ledger,
        raise_for_status,
    )

    __all__ = [
        "AccountFailed",
        "AccountNotFound",
        "AsyncClusterLedger",
        "AsyncLedger",
        "AuditReport",
        "ChainNotChecked",
        "ChangeEvent",
        "ChangeEventType",
        "Checkpoint",
        "ClusterConfiguration",
        "ClusterLedger",
        "InsufficientBalance",
        "Ledger",
        "LedgerClient",
        "OpenReport",
        "PastLedger",
        "Projection",
        "Refused",
        "RefusedTransfer",
        "Runner",
        "TransferFailed",
        "TransferWithBalances",
        "__version__",
        "audit",
        "change_events",
        "open_ledger",
        "raise_for_status",
    ]
    __all__ += journal.__all__

else:
    _NOT_HERE = {"LedgerPreview"}

    def __getattr__(name: str) -> object:
        folders = [import_module(f"nostro.{folder}") for folder in ("projections", "journal")]
        if name in globals():  # a folder: it is an attribute now
            return globals()[name]
        names = {each: folder for folder in folders for each in folder.__all__}
        public = {*names, "__version__"} - _NOT_HERE
        if name == "__all__":
            return sorted(public)
        if name not in public:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, getattr(names[name], name))

    def __dir__() -> list[str]:
        return __getattr__("__all__")
