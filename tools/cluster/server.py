"""The TigerBeetle server program: find it, ask its version, format data files, start it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from nostro.tools.cluster.description import Description
from nostro.tools.cluster.errors import ClusterError, ClusterRefused

VARIABLE: Final = "TIGERBEETLE_BINARY"
_NAME: Final = "tigerbeetle"
_BEFORE_VERSION: Final = "TigerBeetle version "
_VERSION_SECONDS: Final = 30.0
_FORMAT_SECONDS: Final = 600.0
_LINES: Final = 8
_INSTALL: Final = (
    "unpack the release for this system from https://github.com/tigerbeetle/tigerbeetle/releases"
    " onto the PATH, or name it: export TIGERBEETLE_BINARY=/path/to/tigerbeetle"
)


def find_server() -> Path:
    """Return the program that TIGERBEETLE_BINARY names, or else the one on the PATH.

    Raises:
        ClusterRefused: there is none.
    """
    named = os.environ.get(VARIABLE)
    found = shutil.which(named or _NAME)
    if found is None:
        where = (
            f"{VARIABLE} names {named}, which is not a program"
            if named
            else f"{VARIABLE} is not set, and {_NAME} is not on the PATH"
        )
        raise ClusterRefused(
            f"the TigerBeetle server is not on this machine: {where}", hint=_INSTALL
        )
    return Path(found).absolute()


def server_version(server: Path) -> str:
    """Return the program's version, such as ``0.17.9+1259171``.

    Raises:
        ClusterRefused: it does not run, or is another program.
    """
    try:
        code, output = _run(
            [str(server), "version"], _VERSION_SECONDS, errors_to=subprocess.DEVNULL
        )
        first = output.partition("\n")[0].strip()
        version = first.removeprefix(_BEFORE_VERSION)
        if code == 0 and version and version != first:
            return version
        reason = f"`version` answers {first[:100]!r}, exit code {code}"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    raise ClusterRefused(
        f"{server}: not a TigerBeetle server that runs here: {reason}", hint=_INSTALL
    )


def format_data_file(server: Path, description: Description, directory: Path, replica: int) -> None:
    """Make the data file of a replica. The server refuses a file that exists.

    Raises:
        ClusterError: the server fails; the error quotes it.
    """
    path = description.data_file(directory, replica)
    command = [
        str(server),
        "format",
        f"--cluster={description.cluster_id}",
        f"--replica={replica}",
        f"--replica-count={description.replica_count}",
        *(["--development"] if description.development else []),
        str(path),
    ]
    try:
        code, output = _run(command, _FORMAT_SECONDS)
        if code == 0 and path.is_file():
            return
        end = "\n".join(output.splitlines()[-_LINES:])
        reason = f"{end}\nexit code {code}" if code else "the server made no file"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    raise ClusterError(
        f"the data file of replica {replica} could not be made:\n{reason.lstrip()}",
        hint="nothing was left behind",
    )


def start_command(
    server: Path, description: Description, directory: Path, replica: int
) -> list[str]:
    """Return the command line that runs a replica."""
    command = [str(server), "start", f"--addresses={description.replicas}"]
    if description.cache_grid_mib is not None:
        command.append(f"--cache-grid={description.cache_grid_mib}MiB")
    if description.development:
        command.append("--development")
    return [*command, str(description.data_file(directory, replica))]


def _run(command: list[str], seconds: float, errors_to: int = subprocess.STDOUT) -> tuple[int, str]:
    """Return exit code and output."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors_to,
        timeout=seconds,
        umask=0o077,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")
