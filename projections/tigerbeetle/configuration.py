"""The configuration of a cluster: its id, its addresses, and limits for requests to it."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import attrs

from nostro.journal.errors import InvalidField
from nostro.journal.model import AMOUNT_MAX, MESSAGE_EVENTS_MAX
from nostro.projections.tigerbeetle.errors import ClientMissing, ClusterUnreachable, HostUnknown

CLUSTER_ID: Final = "TIGERBEETLE_CLUSTER_ID"
REPLICAS: Final = "TIGERBEETLE_REPLICAS"
TIMEOUT_SECONDS: Final = "TIGERBEETLE_TIMEOUT_SECONDS"
BATCH_EVENTS: Final = "TIGERBEETLE_BATCH_EVENTS"
LINGER_SECONDS: Final = "TIGERBEETLE_LINGER_SECONDS"

BATCH_EVENTS_MAX: Final = MESSAGE_EVENTS_MAX
"""One message to TigerBeetle holds this many."""
REPLICAS_MAX: Final = 6
PORT: Final = 3001
"""The port of a replica whose address names none; TigerBeetle's default."""
_PORT_MAX: Final = 65_535
BATCHES_IN_FLIGHT_MAX: Final = 3
"""So many stay in order. The client library sends one at a time, and appends a request to any that
waits and has room for it: with two waiting, it may come before the second."""


def _cluster_id(_: object, __: object, value: int) -> None:
    if not 0 <= value <= AMOUNT_MAX:
        raise InvalidField("cluster_id", value, "must be an integer from 0 to 2**128 - 1")


def _replicas(_: object, __: object, value: tuple[str, ...]) -> None:
    if not 1 <= len(value) <= REPLICAS_MAX:
        raise InvalidField("replicas", ",".join(value), f"must be 1 to {REPLICAS_MAX} addresses")
    for address in value:
        host_and_port(address)


def _seconds(_: object, field: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < float("inf") or (not value and field.name == "timeout_seconds"):
        raise InvalidField(field.name, value, "must be positive and finite, in seconds")


def _count(_: object, field: attrs.Attribute[int], value: int) -> None:
    count_max = BATCH_EVENTS_MAX if field.name == "batch_events_max" else BATCHES_IN_FLIGHT_MAX
    if not 1 <= value <= count_max:
        raise InvalidField(field.name, value, f"must be from 1 to {count_max:,}")


@attrs.frozen
class ClusterConfiguration:
    """A cluster, and the limits for requests to it.

    Raises:
        InvalidField: a value is out of range, or an address does not parse.
    """

    cluster_id: int = attrs.field(validator=_cluster_id)
    replicas: tuple[str, ...] = attrs.field(validator=_replicas)
    """``host:port``, ``host`` or ``port``; connecting resolves the names of hosts."""
    timeout_seconds: float = attrs.field(default=4.0, validator=_seconds)
    """After this long without an answer the cluster counts as unreachable."""
    batch_events_max: int = attrs.field(default=BATCH_EVENTS_MAX, validator=_count)
    batches_in_flight_max: int = attrs.field(default=BATCHES_IN_FLIGHT_MAX, validator=_count)
    """A mirror sends up to this many batches before the first of them is answered."""
    linger_seconds: float = attrs.field(default=0.1, validator=_seconds)
    """A mirror that has sent everything waits this long for more events: many small messages would
    keep the cluster and its disk busy."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self | None:
        """The cluster that the environment names; None if it names none.

        TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS are required together.
        TIGERBEETLE_TIMEOUT_SECONDS, TIGERBEETLE_BATCH_EVENTS and TIGERBEETLE_LINGER_SECONDS are
        optional.

        Raises:
            InvalidField: only one of the two is set, or a value is not valid.
        """
        cluster_id, replicas = environ.get(CLUSTER_ID, ""), environ.get(REPLICAS, "")
        if not cluster_id and not replicas:
            return None
        if not cluster_id:
            raise InvalidField(CLUSTER_ID, cluster_id, f"is not set, and {REPLICAS} is: set both")
        if not replicas:
            raise InvalidField(REPLICAS, replicas, f"is not set, and {CLUSTER_ID} is: set both")
        limits = {
            field: parse(name, environ[name])
            for name, (field, parse) in _LIMITS.items()
            if environ.get(name)
        }
        return attrs.evolve(cls.parse(cluster_id, replicas), **limits)

    @classmethod
    def parse(cls, cluster_id: str, replicas: str) -> Self:
        """The cluster with a decimal id and comma-separated addresses.

        Raises:
            InvalidField: one of them does not parse.
        """
        addresses = tuple(address.strip() for address in replicas.split(","))
        return cls(_integer("cluster_id", cluster_id), addresses)

    def as_environment(self) -> dict[str, str]:
        """The variables that :meth:`from_environment` reads."""
        limits = {name: str(getattr(self, field)) for name, (field, _) in _LIMITS.items()}
        return {CLUSTER_ID: str(self.cluster_id), REPLICAS: ",".join(self.replicas), **limits}

    def require_client(self) -> None:
        """Check that the client library is installed, without loading it.

        Raises:
            ClientMissing: it is not.
        """
        if importlib.util.find_spec("tigerbeetle") is None:
            raise ClientMissing

    def resolved(self) -> str:
        """The replicas with names of hosts resolved, as the client library takes them.

        Raises:
            HostUnknown: a name cannot be resolved, at least for now.
        """
        return ",".join(map(_resolved, self.replicas))

    def unreachable(self) -> ClusterUnreachable:
        """The error for a request that gets no answer in time."""
        return ClusterUnreachable(self.cluster_id, ",".join(self.replicas), self.timeout_seconds)

    def __str__(self) -> str:
        return f"cluster: {self.cluster_id}, replicas: {','.join(self.replicas)}"


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of ``host:port``, ``host``, ``port`` or ``[IPv6]:port``.

    Raises:
        InvalidField: it has none of these forms.
    """
    host, port = "127.0.0.1", str(PORT)
    if address.isascii() and address.isdecimal():
        port = address
    elif address.startswith("["):
        host, closed, rest = address[1:].partition("]")
        if not closed or not _is_ip(host) or (rest and not rest.startswith(":")):
            raise InvalidField("replicas", address, "is not an address of the form [IPv6]:port")
        port = rest[1:] if rest else port
    else:
        host, colon, rest = address.partition(":")
        port = rest if colon else port
    if not host or set(host) - _HOST_CHARACTERS:
        raise InvalidField("replicas", address, "is not an address of the form host:port")
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _PORT_MAX):
        raise InvalidField("replicas", address, f"needs a port from 1 to {_PORT_MAX}")
    return host, int(port)


_HOST_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:"
)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _resolved(address: str) -> str:
    host, port = host_and_port(address)
    if not _is_ip(host):
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise HostUnknown(address, error.strerror or str(error)) from None
        found.sort(key=lambda each: each[0] != socket.AF_INET)
        host = str(found[0][4][0])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _integer(field: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidField(field, text, "is not an integer") from None


def _number(field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidField(field, text, "is not a number") from None


_LIMITS: Final[dict[str, tuple[str, Callable[[str, str], Any]]]] = {
    TIMEOUT_SECONDS: ("timeout_seconds", _number),
    LINGER_SECONDS: ("linger_seconds", _number),
    BATCH_EVENTS: ("batch_events_max", _integer),
}
"""Optional variables of the environment: the field of each, and how it is parsed."""
