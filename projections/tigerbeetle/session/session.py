"""The seam to a cluster: raw requests and raw replies, as TigerBeetle's client library has them.

:class:`Session` is what the rest knows of the client library, so that a test can stand in for it.
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
    """One client's session. Of three requests under way, none overtakes another; of more, some may.

    A future's result raises what is in :mod:`nostro.projections.tigerbeetle.errors`.
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
