"""The demonstration's writer, a process of its own, made to be killed.

``python -m nostro.tools.demo.writer DIR PAYMENTS MIDNIGHT_NS SEED BATCH`` writes the world to the
ledger in DIR. After each acknowledged batch it writes one line to standard output: the number of
transfers acknowledged so far.
"""

from __future__ import annotations

import sys
from typing import Final

from nostro.journal import CreateTransferStatus
from nostro.projections import Ledger
from nostro.tools.demo.world import make_world

CHECKPOINT_EVENTS: Final = 100_000
"""Often enough for the recovery to begin from a checkpoint."""


def main(arguments: list[str]) -> None:
    """Write the world batch by batch, and report each batch once it is durable."""
    path = arguments[0]
    payments, midnight_ns, seed, batch = map(int, arguments[1:])
    world = make_world(payments=payments, midnight_ns=midnight_ns, seed=seed)
    with Ledger.open(path, checkpoint_events=CHECKPOINT_EVENTS) as ledger:
        ledger.create_accounts(world.accounts)
        for start in range(0, len(world.transfers), batch):
            rows = world.transfers[start : start + batch]
            results = ledger.create_transfers(rows)
            if (results["status"] != CreateTransferStatus.CREATED).any():
                raise AssertionError("the demonstration's own payments were refused")
            sys.stdout.write(f"{start + len(rows)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
