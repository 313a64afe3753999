"""The seam to a cluster: raw requests and raw replies, as TigerBeetle's client library has them.

:class:`Session` is what the rest knows of the client library, so that a test can stand in for it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from journal.codec import Rows


class Operation(enum.IntEnum):
    """TigerBeetle's numbers, release 0.17 (``tb_client.h``)."""

    GET_CHANGE_EVENTS = 137
    LOOKUP_ACCOUNTS = 140
    LOOKUP_TRANSFERS = 141
    GET_ACCOUNT_TRANSFERS = 142
    GET_ACCOUNT_BALANCES = 143
    QUERY_ACCOUNTS = 144
    QUERY_TRANSFERS = 145
    CREATE_ACCOUNTS = 146
    CREATE_TRANSFERS = 147


class Reply(NamedTuple):
    timestamp: int
    """The cluster's clock when it carried the request out, ns."""
    data: bytes


class Session(Protocol):
    """One client's session. Of three requests under way, none overtakes another; of more, some may.

    A future's result raises what is in :mod:`projections.tigerbeetle.errors`.
    """

    def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
        """Begin a request; ``body`` is contiguous and must not change until it has its reply.

        Never blocks, and never fails here: errors are the future's.
        """
        ...

    def close(self) -> None:
        """End the session. What is under way ends with SessionClosed, be it carried out or not."""
        ...


Connect = Callable[[], Session]
"""Opens a session without waiting for the cluster."""
