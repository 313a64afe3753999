"""Whether a cluster answers: one real look-up through TigerBeetle's own client.

The client tries for ever, and blocks: on a closed port, with a wrong cluster id, without a quorum.
So it runs in a process of its own, which is killed when its time is up. A look-up registers a
client session, of which a cluster keeps 64: it is made when somebody asks, never on a timer.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Final, Self

import attrs

PACKAGE: Final = "tigerbeetle"
_ACCOUNT_ID: Final = 1
"""Whether it is there does not matter: none found is an answer."""
_POLL_SECONDS: Final = 0.02


@attrs.frozen
class Answer:
    """What came of a look-up: the seconds it took, or why there was none."""

    seconds: float | None
    reason: str = ""

    @property
    def came(self) -> bool:
        return self.seconds is not None


def client_is_installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


class Lookup:
    """A look-up on its way. Use it as a context manager: leaving it ends it, answered or not."""

    def __init__(self, cluster_id: int, replicas: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(cluster_id), replicas],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def poll(self) -> Answer | None:
        """Return the answer, or None as long as there is none."""
        if self._process.poll() is None:
            return None
        assert self._process.stdout is not None
        try:
            return Answer(**json.loads(self._process.stdout.read()))
        except ValueError:
            return Answer(None, f"the client ended with exit code {self._process.returncode}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        with self._process:  # closes the pipe and waits
            pass


def look_up(cluster_id: int, replicas: str, *, seconds: float) -> Answer:
    """Ask the cluster, and give up after that time."""
    deadline = time.monotonic() + seconds
    with Lookup(cluster_id, replicas) as lookup:
        while (answer := lookup.poll()) is None:
            if time.monotonic() > deadline:
                return Answer(None, no_answer(seconds))
            time.sleep(_POLL_SECONDS)
    return answer


def no_answer(seconds: float) -> str:
    return f"no answer to a look-up in {seconds:g} s"


def _main(cluster_id: str, replicas: str) -> None:
    """Ask, write an answer as JSON, and end at once, whatever the client is still at."""
    client_module: Any = importlib.import_module(PACKAGE)
    began = time.monotonic()
    try:
        client_module.ClientSync(int(cluster_id), replicas).lookup_accounts([_ACCOUNT_ID])
        answer = Answer(time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - whatever the client says is what is told
        answer = Answer(None, f"the client says: {error!r}")
    sys.stdout.write(json.dumps(attrs.asdict(answer)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
