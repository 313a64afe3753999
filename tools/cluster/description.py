"""The file ``cluster.json``, which describes a cluster, and the names of the files beside it."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Final, Self

import attrs
from attrs import validators

from nostro.journal.storage.files import Storage, read_file, replace_file
from nostro.tools.cluster.errors import ClusterDamaged, NotACluster

NAME: Final = "cluster.json"
CLUSTER_ID_MAX: Final = 2**128 - 1
REPLICA_COUNTS: Final = (1, 3)
"""An even number survives no more failures than the odd number below it."""
CACHE_GRID_MIB_MIN: Final = 32
CACHE_GRID_MIB_MAX: Final = 1024**2
_VERSION: Final = 1
_BYTES_MAX: Final = 64 * 1024
_ADDRESS: Final = re.compile(r"127\.0\.0\.1:([1-9][0-9]{0,4})")


def _check_addresses(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    ports = [_ADDRESS.fullmatch(address) for address in value]
    if any(port is None or int(port[1]) > 65_535 for port in ports):
        raise ValueError(f"{field.name} must have the form 127.0.0.1:PORT")
    if len(value) not in REPLICA_COUNTS or len(set(value)) != len(value):
        raise ValueError(f"{field.name} must be 1 or 3 different addresses")


@attrs.frozen
class Description:
    """The facts of a cluster. Its id and its number of replicas never change.

    Raises:
        ValueError, TypeError: a field is out of its range or of another type.
    """

    cluster_id: int = attrs.field(validator=[validators.ge(0), validators.le(CLUSTER_ID_MAX)])
    addresses: tuple[str, ...] = attrs.field(validator=_check_addresses)
    """``127.0.0.1:PORT`` of each replica, in the order that every server and client must use."""
    version: str = attrs.field(validator=validators.instance_of(str))
    """The version of the server that was started last."""
    cache_grid_mib: int | None = attrs.field(
        validator=validators.optional(
            [validators.ge(CACHE_GRID_MIB_MIN), validators.le(CACHE_GRID_MIB_MAX)]
        )
    )
    """None: the server chooses its smallest, with --development."""
    development: bool = attrs.field(validator=validators.instance_of(bool))
    """Small batches and caches, and no direct I/O."""

    @property
    def replica_count(self) -> int:
        return len(self.addresses)

    @property
    def replicas(self) -> str:
        """The addresses as servers and clients take them."""
        return ",".join(self.addresses)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name this cluster to programs."""
        return {
            "TIGERBEETLE_CLUSTER_ID": str(self.cluster_id),
            "TIGERBEETLE_REPLICAS": self.replicas,
        }

    def data_file(self, directory: Path, replica: int) -> Path:
        return directory / f"{self.cluster_id}_{replica}.tigerbeetle"

    def to_json(self) -> dict[str, Any]:
        """Return the object of ``cluster.json``. JSON holds no 128-bit numbers: the id is text."""
        return {
            **attrs.asdict(self),
            "format": _VERSION,
            "cluster_id": str(self.cluster_id),
            "replica_count": self.replica_count,
            "addresses": list(self.addresses),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:  # noqa: ANN401 - as JSON gives it
        """Return the description in a parsed ``cluster.json``.

        Raises:
            ValueError, TypeError, LookupError: it says what is wrong.
        """
        if value["format"] != _VERSION:
            raise ValueError(f"format must be {_VERSION}")
        fields = {field.name: value[field.name] for field in attrs.fields(cls)}
        fields["cluster_id"] = int(fields["cluster_id"])
        fields["addresses"] = tuple(fields["addresses"])
        found = cls(**fields)
        if found.to_json() != value:
            raise ValueError(
                "only the fields that `nostro cluster up` writes are allowed, in its form"
            )
        return found


def log_file(directory: Path, replica: int) -> Path:
    return directory / f"replica-{replica}.log"


def replica_lock(directory: Path, replica: int) -> Path:
    return directory / f"replica-{replica}.lock"


def supervisor_lock(directory: Path) -> Path:
    return directory / "supervisor.lock"


def supervisor_log(directory: Path) -> Path:
    return directory / "supervisor.log"


def open_log(path: Path) -> int:
    """Open a log for appending, never through a symbolic link; return its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def is_cluster(directory: Path) -> bool:
    return os.path.lexists(directory / NAME)


def write_description(directory: Path, description: Description) -> None:
    """Replace the description atomically; it is durable when this returns."""
    text = json.dumps(description.to_json(), indent=2) + "\n"
    replace_file(Storage(), directory / NAME, text.encode())


def read_description(directory: Path) -> Description:
    """Return the description of the cluster in a directory of this user.

    Raises:
        NotACluster: there is none, or the directory belongs to another user.
        ClusterDamaged: the description cannot be used.
    """
    check_directory(directory)
    path = directory / NAME
    if not is_cluster(directory):
        raise NotACluster(directory, f"it contains no {NAME}")
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _BYTES_MAX:
            raise ValueError(f"it must be a regular file of at most {_BYTES_MAX:,} bytes")
        return Description.from_json(json.loads(read_file(Storage(), path)))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ClusterDamaged(
            f"{path}: not a description of a cluster: {error.args[0]}",
            hint="nothing was changed; restore cluster.json from a backup",
        ) from None


def check_directory(directory: Path) -> None:
    """Refuse a path unless it is a directory of this user.

    Raises:
        NotACluster: with the reason.
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
