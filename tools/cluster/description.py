"""What a cluster is: the file ``cluster.json`` in its directory, and the names of the others."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Final, Self

import attrs

from nostro.journal.storage.files import Storage, read_file, replace_file
from nostro.tools.cluster.errors import BadDescription, NotACluster

NAME: Final = "cluster.json"
CLUSTER_ID_MAX: Final = 2**128 - 1
REPLICA_COUNTS: Final = (1, 3)
"""An even number survives no more failures than the odd one below it."""
CACHE_GRID_MIB_MIN: Final = 32
CACHE_GRID_MIB_MAX: Final = 1024**2
_VERSION: Final = 1
_BYTES_MAX: Final = 64 * 1024
_ADDRESS: Final = re.compile(r"127\.0\.0\.1:([1-9][0-9]{0,4})")


@attrs.frozen
class Description:
    """A cluster's facts. What concerns data files never changes: id and number of replicas."""

    cluster_id: int
    addresses: tuple[str, ...]
    """``127.0.0.1:PORT`` of each replica; their order is the replicas' and the same for all."""
    version: str
    """Of the program that was started last."""
    cache_grid_mib: int | None
    """None: as small as the server chooses with --development."""
    development: bool
    """Small batches and caches, and no direct I/O asked of the disk."""

    @property
    def replica_count(self) -> int:
        return len(self.addresses)

    @property
    def replicas(self) -> str:
        """The addresses as servers and clients take them."""
        return ",".join(self.addresses)

    @property
    def environment(self) -> dict[str, str]:
        """What programs that use the cluster read."""
        return {
            "TIGERBEETLE_CLUSTER_ID": str(self.cluster_id),
            "TIGERBEETLE_REPLICAS": self.replicas,
        }

    def data_file(self, directory: Path, replica: int) -> Path:
        return directory / f"{self.cluster_id}_{replica}.tigerbeetle"

    def to_json(self) -> dict[str, Any]:
        """JSON holds no 128-bit numbers, so the id is text."""
        return {
            "format": _VERSION,
            "cluster_id": str(self.cluster_id),
            "replica_count": self.replica_count,
            "addresses": list(self.addresses),
            "version": self.version,
            "cache_grid_mib": self.cache_grid_mib,
            "development": self.development,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError with what is wrong."""
        if not isinstance(value, dict) or value.get("format") != _VERSION:
            raise ValueError(f"it is no description of a cluster in format {_VERSION}")
        if set(value) != set(cls(0, (), "", None, False).to_json()):
            raise ValueError("fields are missing, or there are others")
        id_text, addresses, grid = value["cluster_id"], value["addresses"], value["cache_grid_mib"]
        if not isinstance(id_text, str) or not re.fullmatch(r"0|[1-9][0-9]{0,38}", id_text):
            raise ValueError("cluster_id is no decimal number in quotes")
        if int(id_text) > CLUSTER_ID_MAX:
            raise ValueError("cluster_id has more than 128 bits")
        if not isinstance(addresses, list) or not all(_is_address(item) for item in addresses):
            raise ValueError("addresses are not of the form 127.0.0.1:PORT")
        if len(addresses) not in REPLICA_COUNTS or value["replica_count"] != len(addresses):
            raise ValueError("replica_count is not the number of addresses, 1 or 3")
        if len(set(addresses)) != len(addresses):
            raise ValueError("two replicas have the same address")
        if type(value["version"]) is not str or type(value["development"]) is not bool:
            raise ValueError("version is no text, or development is not true or false")
        if grid is not None and (
            type(grid) is not int or not CACHE_GRID_MIB_MIN <= grid <= CACHE_GRID_MIB_MAX
        ):
            raise ValueError("cache_grid_mib is no size that a server takes")
        return cls(int(id_text), tuple(addresses), value["version"], grid, value["development"])


def log_file(directory: Path, replica: int) -> Path:
    return directory / f"replica-{replica}.log"


def replica_lock(directory: Path, replica: int) -> Path:
    return directory / f"replica-{replica}.lock"


def supervisor_lock(directory: Path) -> Path:
    return directory / "supervisor.lock"


def supervisor_log(directory: Path) -> Path:
    return directory / "supervisor.log"


def is_cluster(directory: Path) -> bool:
    return os.path.lexists(directory / NAME)


def write_description(directory: Path, description: Description) -> None:
    """Whole or not at all, and durably once this returns."""
    text = json.dumps(description.to_json(), indent=2) + "\n"
    replace_file(Storage(), directory / NAME, text.encode())


def read_description(directory: Path) -> Description:
    """Return what stands in the directory of a cluster of this user's.

    Raises:
        NotACluster: it is none, or belongs to somebody else.
        BadDescription: its description cannot be used.
    """
    check_directory(directory)
    path = directory / NAME
    if not is_cluster(directory):
        raise NotACluster(directory, f"there is no {NAME} in it")
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _BYTES_MAX:
            raise BadDescription(path, "it is no regular file, or far too large")
        return Description.from_json(json.loads(read_file(Storage(), path)))
    except (ValueError, RecursionError) as error:
        raise BadDescription(path, str(error)) from None


def check_directory(directory: Path) -> None:
    """Refuse what is no directory, or not this user's.

    Raises:
        NotACluster: it is not.
    """
    try:
        status = os.lstat(directory)
    except (FileNotFoundError, NotADirectoryError):
        raise NotACluster(directory, "no such directory") from None
    if not stat.S_ISDIR(status.st_mode):
        raise NotACluster(directory, "it is not a directory")
    if status.st_uid != os.geteuid():
        raise NotACluster(
            directory,
            f"it belongs to user {status.st_uid}, and this process runs as {os.geteuid()}",
        )


def _is_address(value: object) -> bool:
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return match is not None and int(match[1]) < 65_536
