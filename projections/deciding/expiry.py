"""Pending transfers that run out of time: events of their own, decided on the ledger's clock.

Replaying them never looks at a clock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from nostro.journal.errors import JournalFull, LedgerClosed, WriterPoisoned, WrongClock
from nostro.journal.format.events import PendingExpired, encode_domain_event
from nostro.projections.rules.posting import AppliedTransfer
from nostro.projections.state.ledger_state import LedgerState

EXPIRY_SECONDS: Final = 1.0
_log = logging.getLogger("nostro")


@attrs.frozen(eq=False)
class Expiry:
    """Pending transfers that expired, in order, from ``timestamp_min`` on, 1 ns apart."""

    transfer_ids: Sequence[int]
    timestamp_min: int

    @property
    def timestamp_max(self) -> int:
        return self.timestamp_min + len(self.transfer_ids) - 1

    def fold_into(
        self, state: LedgerState, position_last: int, _: list[AppliedTransfer] | None = None
    ) -> None:
        """Change ``state`` as these events do, which end at that position."""
        state.expire(
            self.transfer_ids,
            positions=range(position_last - len(self.transfer_ids) + 1, position_last + 1),
            timestamps=range(self.timestamp_min, self.timestamp_max + 1),
        )

    def encoded(self) -> list[dict[str, Any]]:
        """The domain events, as the journal takes them."""
        return [
            encode_domain_event(PendingExpired(0, timestamp, id_))
            for timestamp, id_ in enumerate(self.transfer_ids, self.timestamp_min)
        ]


class ExpiryTimer:
    """Calls ``expire`` now and then, so that pendings expire though nobody asks for anything."""

    def __init__(self, expire: Callable[[], None], seconds: float) -> None:
        self._expire = expire
        self._seconds = seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nostro-expiry", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._seconds):
            try:
                self._expire()
            except (JournalFull, WrongClock) as error:
                _log.warning("pending transfers wait to expire: %s", error)
            except (WriterPoisoned, LedgerClosed):
                return  # the next caller gets the error
