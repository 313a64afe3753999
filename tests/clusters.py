"""Clusters for tests: a stand-in for the TigerBeetle server, and one for its client package.

The stand-in formats a small file and listens on its port; it speaks no protocol. What it does
otherwise is written into a file beside it, one word a line: see :data:`_SERVER`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import attrs

_SERVER: Final = """#!{python}
import os, pathlib, signal, socket, sys, time

def words():
    return set(pathlib.Path(__file__).with_name("does").read_text().split())

def main(command, *arguments):
    if command == "version":
        if "odd-version" in words():
            print("some other program 1.0")
        else:
            print("TigerBeetle version 0.17.9+0000000")
        return 0
    if command == "format":
        path, number = arguments[-1], arguments[1].removeprefix("--replica=")
        if "format-fails-" + number in words():
            print("error: no room on this disk")
            return 1
        with open(path, "x") as file:
            file.write("\\n".join(arguments))
        return 0
    path, number = arguments[-1], pathlib.Path(arguments[-1]).stem.rpartition("_")[2]
    if "deaf-" + number in words():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("started with", *arguments, flush=True)
    if "dies-" + number in words():
        print("panic: the data file is torn", flush=True)
        return 3
    port = int(arguments[0].removeprefix("--addresses=").split(",")[int(number)].split(":")[1])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        if "mute-" + number not in words():
            listener.listen()
        while True:
            time.sleep(3600)

sys.exit(main(*sys.argv[1:]))
"""

_CLIENT: Final = """
import os, pathlib, time

class ClientSync:
    def __init__(self, cluster_id, replica_addresses):
        does = pathlib.Path({does!r}).read_text().split()
        pathlib.Path({does!r}).with_name("client").write_text(str(os.getpid()))
        self.hangs, self.refuses = "unanswered" in does, "refused" in does

    def lookup_accounts(self, ids):
        if self.refuses:
            raise ValueError("release too old")
        while self.hangs:
            time.sleep(3600)
        return []
"""


@attrs.frozen
class StandIn:
    """A stand-in for the server and the client, with the file that says what they do."""

    binary: Path

    def does(self, *words: str) -> None:
        """Set what they do, by words.

        Of the server: ``dies-N``, ``deaf-N`` (to SIGTERM), ``mute-N`` (does not listen),
        ``format-fails-N``, ``odd-version``; of the client: ``unanswered``, ``refused``.
        """
        self.binary.with_name("does").write_text("\n".join(words))

    def client_process(self) -> int | None:
        """The id of the process in which the client was used last."""
        path = self.binary.with_name("client")
        return int(path.read_text() or 0) or None if path.exists() else None


def make_stand_in(folder: Path) -> StandIn:
    folder.mkdir()
    binary = folder / "tigerbeetle"
    binary.write_text(_SERVER.format(python=sys.executable))
    binary.chmod(0o755)
    stand_in = StandIn(binary)
    stand_in.does()
    return stand_in


def make_client(folder: Path, stand_in: StandIn) -> None:
    """A package ``tigerbeetle`` in the folder, to be put on the path."""
    package = folder / "tigerbeetle"
    package.mkdir(parents=True)
    does = stand_in.binary.with_name("does")
    (package / "__init__.py").write_text(_CLIENT.format(does=str(does)))
