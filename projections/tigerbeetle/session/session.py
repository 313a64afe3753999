"""The interface to a cluster: raw requests and raw replies, as in TigerBeetle's client library.

Other modules use only :class:`Session`, so a test can replace the client library.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.operations import Operation


class Reply(NamedTuple):
    timestamp: int
    """The cluster's clock when it carried the request out, ns."""
    data: bytes


class Session(Protocol):
    """One client's session. Up to three requests in flight stay in order; more may not.

    A future's result raises an error of :mod:`nostro.projections.tigerbeetle.errors`.
    """

    def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
        """Begin a request; ``body`` is contiguous and must not change until it has its reply.

        Never blocks and never raises: the future carries errors.
        """
        ...

    def close(self) -> None:
        """End the session. Requests in flight end with SessionClosed, carried out or not."""
        ...


Connect = Callable[[], Session]
"""Opens a session without waiting for the cluster."""
