"""The ledgers that clients have open: clients of one directory share one, the last closes it.

TigerBeetle's programs may open many clients to a cluster; a directory admits one writer.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

import attrs

from nostro.projections.ledger.ledger import Ledger

DATA_VARIABLE: Final = "NOSTRO_DATA"
"""The environment variable that names the directory in which the clusters' ledgers lie."""


def data_directory(cluster_id: int) -> Path:
    """Where the data of that cluster lies: ``nostro-<cluster_id>`` in ``$NOSTRO_DATA`` or here."""
    return Path(os.environ.get(DATA_VARIABLE) or ".") / f"nostro-{cluster_id}"


@attrs.define(eq=False)
class _Shared:
    ledger: Ledger
    clients: int = 0


class _OpenLedgers:
    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """Know of no ledger: in a forked process, those that are open are the parent's."""
        self._lock = threading.RLock()
        self._by_path: dict[str, _Shared] = {}

    def acquire(self, path: Path) -> Ledger:
        """The ledger in ``path``, opened (and made) if no client has it open.

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
        """Give back what :meth:`acquire` gave; the last to do so closes it."""
        with self._lock:
            real = str(ledger.path)
            shared = self._by_path.get(real)
            if shared is None or shared.ledger is not ledger:
                return  # the parent's, in a forked process
            shared.clients -= 1
            if shared.clients == 0:
                del self._by_path[real]
                ledger.close()


open_ledgers: Final = _OpenLedgers()
os.register_at_fork(after_in_child=open_ledgers.start_afresh)
