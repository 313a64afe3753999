"""The mirror as a process of its own: ``python -m nostro.projections.tigerbeetle.mirror DIR``.

:class:`MirrorProcess` starts it, names the cluster in the environment and holds the other end of
standard input. This process ends when that end is closed: when the ledger closes or its process
dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import AlreadyMirrored, Divergence
from nostro.projections.tigerbeetle.mirror.mirror import Mirror
from nostro.projections.tigerbeetle.mirror.process import EXIT_DIVERGED, EXIT_HELD, NICENESS


def main() -> int:
    """Mirror until standard input ends, or SIGTERM."""
    configuration = ClusterConfiguration.from_environment(os.environ)
    assert configuration is not None, "the process that starts this one names the cluster"
    with contextlib.suppress(OSError):
        os.nice(NICENESS)  # appending comes first
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_await_end, args=(stop,), daemon=True).start()
    try:
        with Mirror(sys.argv[1], configuration) as mirror:
            mirror.run(stop)
    except AlreadyMirrored:
        return EXIT_HELD
    except Divergence:
        return EXIT_DIVERGED  # the health file says what it is
    return 0


def _await_end(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
