"""Operations of a cluster by TigerBeetle's numbers, release 0.17 (``tb_client.h``)."""

from __future__ import annotations

import enum
from typing import Final

import attrs
import numpy as np

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import (
    ACCOUNT,
    TRANSFER,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    TransferFlags,
)


class Operation(enum.IntEnum):
    PULSE = 128
    """The cluster's own; no client sends it."""
    GET_CHANGE_EVENTS = 137
    LOOKUP_ACCOUNTS = 140
    LOOKUP_TRANSFERS = 141
    GET_ACCOUNT_TRANSFERS = 142
    GET_ACCOUNT_BALANCES = 143
    QUERY_ACCOUNTS = 144
    QUERY_TRANSFERS = 145
    CREATE_ACCOUNTS = 146
    CREATE_TRANSFERS = 147


@attrs.frozen
class EventKind:
    """How requests about accounts differ from those about transfers."""

    name: str
    dtype: np.dtype[np.void]
    statuses: type[CreateAccountStatus | CreateTransferStatus]
    imported: int
    """The flag of an event that keeps its own timestamp."""
    create: Operation
    look_up: Operation
    query: Operation


BY_TIME: Final = [("timestamp_min", "<u8"), ("timestamp_max", "<u8"), ("limit", "<u4")]
"""The part that all of TigerBeetle's filters have."""
EVENT_KINDS: Final = {
    RecordKind.ACCOUNTS: EventKind(
        "account", ACCOUNT, CreateAccountStatus, int(AccountFlags.IMPORTED),
        Operation.CREATE_ACCOUNTS, Operation.LOOKUP_ACCOUNTS, Operation.QUERY_ACCOUNTS,
    ),
    RecordKind.TRANSFERS: EventKind(
        "transfer", TRANSFER, CreateTransferStatus, int(TransferFlags.IMPORTED),
        Operation.CREATE_TRANSFERS, Operation.LOOKUP_TRANSFERS, Operation.QUERY_TRANSFERS,
    ),
}  # fmt: skip
