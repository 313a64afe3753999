"""Making a cluster: its data files are formatted once, and never over anything."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from nostro.journal import DestinationTaken, LedgerLocked
from nostro.journal.storage.atomic_directory import atomic_directory
from nostro.journal.storage.files import Storage
from nostro.tools.cluster.description import Description, check_directory, write_description
from nostro.tools.cluster.errors import BeingMade, DataFileMissing, FormatFailed, NotACluster

_SECONDS: Final = 600.0
_LINES: Final = 8


def make_cluster(directory: Path, description: Description, binary: Path) -> None:
    """Format a data file for each replica, and describe the cluster.

    The directory is there complete or not at all: what was interrupted leaves no cluster, so a
    data file that is missing later was lost and is never formatted again.

    Raises:
        NotACluster: something else is in the directory, or it is somebody else's.
        BeingMade: another process is at it.
        FormatFailed: the server refuses; nothing is left behind.
    """
    if directory.is_dir():
        check_directory(directory)
    try:
        with atomic_directory(Storage(), directory) as unfinished:
            for replica in range(description.replica_count):
                _format(description, unfinished, replica, binary)
            write_description(unfinished, description)
    except DestinationTaken as error:
        raise NotACluster(directory, error.reason) from None
    except LedgerLocked:
        raise BeingMade(directory) from None


def check_data_files(directory: Path, description: Description) -> None:
    """Refuse to go on without a data file.

    Raises:
        DataFileMissing: the first that is not there.
    """
    for replica in range(description.replica_count):
        path = description.data_file(directory, replica)
        if not path.is_file():
            raise DataFileMissing(path, description.replica_count)


def _format(description: Description, directory: Path, replica: int, binary: Path) -> None:
    command = [
        str(binary),
        "format",
        f"--cluster={description.cluster_id}",
        f"--replica={replica}",
        f"--replica-count={description.replica_count}",
        *(["--development"] if description.development else []),
        str(description.data_file(directory, replica)),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            umask=0o077,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FormatFailed(replica, str(error)) from None
    if done.returncode:
        lines = done.stdout.decode(errors="replace").splitlines()
        said = "\n".join(lines[-_LINES:])
        raise FormatFailed(replica, f"{said}\nexit code {done.returncode}".lstrip())
    if not description.data_file(directory, replica).is_file():
        raise FormatFailed(replica, "the server says it is done, and there is no file")
