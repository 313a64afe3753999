"""TigerBeetle's numbers of what may be asked for, release 0.17 (``tb_client.h``)."""

from __future__ import annotations

import enum


class Operation(enum.IntEnum):
    PULSE = 128
    """The cluster's own, never asked for."""
    GET_CHANGE_EVENTS = 137
    LOOKUP_ACCOUNTS = 140
    LOOKUP_TRANSFERS = 141
    GET_ACCOUNT_TRANSFERS = 142
    GET_ACCOUNT_BALANCES = 143
    QUERY_ACCOUNTS = 144
    QUERY_TRANSFERS = 145
    CREATE_ACCOUNTS = 146
    CREATE_TRANSFERS = 147
