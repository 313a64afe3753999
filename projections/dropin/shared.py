"""The ledgers that clients have open. Clients of one directory share one; the last closes it.

A program may open many clients to a cluster, but a directory admits only one writer.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

import attrs

from nostro.projections.ledger.ledger import Ledger

DATA_VARIABLE: Final = "NOSTRO_DATA"
"""The environment variable that names the directory of all clusters."""


def data_directory(cluster_id: int) -> Path:
    """The directory of a cluster, in ``$NOSTRO_DATA`` or else the working directory."""
    return Path(os.environ.get(DATA_VARIABLE) or ".") / f"nostro-{cluster_id}"


@attrs.define(eq=False)
class _Shared:
    ledger: Ledger
    clients: int = 0


class _OpenLedgers:
    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forget every ledger: in a forked process, the open ones belong to the parent."""
        self._lock = threading.RLock()
        self._by_path: dict[str, _Shared] = {}

    def acquire(self, path: Path) -> Ledger:
        """The ledger in ``path``; opens or creates it if no client has it open.

        Raises:
            journal.JournalError, OSError: it cannot be opened; see :meth:`Ledger.open`.
        """
        real = str(path.resolve())
        with self._lock:
            shared = self._by_path.get(real)
            if shared is None:
                shared = self._by_path[real] = _Shared(Ledger.open(real))
            shared.clients += 1
            return shared.ledger

    def release(self, ledger: Ledger) -> None:
        """Return a ledger from :meth:`acquire`; the last client to do so closes it."""
        with self._lock:
            real = str(ledger.path)
            shared = self._by_path.get(real)
            if shared is None or shared.ledger is not ledger:
                return  # in a forked process: the parent's
            shared.clients -= 1
            if shared.clients == 0:
                del self._by_path[real]
                ledger.close()


open_ledgers: Final = _OpenLedgers()
os.register_at_fork(after_in_child=open_ledgers.start_afresh)
