"""Whether a cluster answers: one real look-up through TigerBeetle's own client.

The client retries for ever, and blocks: on a closed port, with a wrong cluster id, without a
quorum. So it runs in its own process, which is killed at the deadline. Each look-up takes one of
the cluster's 64 client sessions: make one on request, never on a timer.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

_PACKAGE: Final = "tigerbeetle"
_ACCOUNT_ID: Final = 1
"""Any id will do: "no such account" is an answer too."""
NO_CLIENT: Final = (
    "the package tigerbeetle is not installed, so no look-up was made: an open port shows that a"
    " process listens, not that the cluster answers"
)


@attrs.frozen
class Answer:
    """The result of a look-up: how long it took, or why it failed."""

    seconds: float | None = None
    reason: str = ""
    tried: bool = True
    """False when the client package is missing."""

    @property
    def came(self) -> bool:
        return self.seconds is not None

    @property
    def text(self) -> str:
        """Return the result in words."""
        return self.reason if self.seconds is None else f"answered in {1e3 * self.seconds:,.1f} ms"

    @property
    def failed(self) -> bool:
        return self.tried and not self.came


@contextlib.contextmanager
def start_lookup(cluster_id: int, replicas: str) -> Iterator[Callable[[float], Answer | None]]:
    """Start a look-up; end it when the block ends.

    Yield a function. It waits at most the seconds it is given, and returns the answer, or None if
    none has come.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        yield lambda _seconds: Answer(reason=NO_CLIENT, tried=False)
        return
    with subprocess.Popen(
        [sys.executable, "-P", __file__, str(cluster_id), replicas],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield functools.partial(_wait, process)
        finally:
            process.kill()


def look_up(cluster_id: int, replicas: str, *, seconds: float) -> Answer:
    """Ask the cluster, and give up after ``seconds``."""
    with start_lookup(cluster_id, replicas) as wait:
        return wait(seconds) or Answer(reason=no_answer(seconds))


def no_answer(seconds: float) -> str:
    return f"no answer to a look-up in {seconds:g} s"


def _wait(process: subprocess.Popen[bytes], seconds: float) -> Answer | None:
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    assert process.stdout is not None
    try:
        return Answer(**json.loads(process.stdout.read()))
    except ValueError:
        return Answer(reason=f"the client ended with exit code {code}")


def _main(cluster_id: str, replicas: str) -> None:
    """Ask, write the answer as JSON, and end at once, even if the client is still busy."""
    client_module: Any = importlib.import_module(_PACKAGE)
    began = time.monotonic()
    try:
        client_module.ClientSync(int(cluster_id), replicas).lookup_accounts([_ACCOUNT_ID])
        answer = Answer(time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - the user sees any failure of the client
        answer = Answer(reason=f"the client says: {error!r}")
    sys.stdout.write(json.dumps(attrs.asdict(answer)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
