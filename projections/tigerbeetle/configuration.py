"""Which cluster, and how to speak with it: from the environment or by hand."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
from collections.abc import Mapping
from typing import Final, Self

import attrs

from nostro.journal.errors import InvalidField
from nostro.journal.model import AMOUNT_MAX, MESSAGE_EVENTS_MAX
from nostro.projections.tigerbeetle.errors import ClientMissing, HostUnknown

CLUSTER_ID: Final = "TIGERBEETLE_CLUSTER_ID"
REPLICAS: Final = "TIGERBEETLE_REPLICAS"
TIMEOUT_SECONDS: Final = "TIGERBEETLE_TIMEOUT_SECONDS"
BATCH_EVENTS: Final = "TIGERBEETLE_BATCH_EVENTS"
LINGER_SECONDS: Final = "TIGERBEETLE_LINGER_SECONDS"

BATCH_EVENTS_MAX: Final = MESSAGE_EVENTS_MAX
"""What a message of TigerBeetle's holds."""
REPLICAS_MAX: Final = 6
PORT: Final = 3001
"""Where a replica listens that is named without a port, as TigerBeetle has it."""
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
    if not 0 < value < float("inf"):
        raise InvalidField(field.name, value, "must be positive, in seconds")


def _no_negative_seconds(_: object, field: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < float("inf"):
        raise InvalidField(field.name, value, "cannot be negative, in seconds")


def _count(_: object, field: attrs.Attribute[int], value: int) -> None:
    count_max = BATCH_EVENTS_MAX if field.name == "batch_events_max" else BATCHES_IN_FLIGHT_MAX
    if not 1 <= value <= count_max:
        raise InvalidField(field.name, value, f"must be from 1 to {count_max:,}")


@attrs.frozen
class ClusterConfiguration:
    """A cluster and how to speak with it.

    Raises:
        InvalidField: a value is out of range, or an address does not parse.
    """

    cluster_id: int = attrs.field(validator=_cluster_id)
    replicas: tuple[str, ...] = attrs.field(validator=_replicas)
    """``host:port``, ``host`` or ``port``; names of hosts are looked up when connecting."""
    timeout_seconds: float = attrs.field(default=4.0, validator=_seconds)
    """After so long without an answer the cluster counts as unreachable."""
    batch_events_max: int = attrs.field(default=BATCH_EVENTS_MAX, validator=_count)
    batches_in_flight_max: int = attrs.field(default=BATCHES_IN_FLIGHT_MAX, validator=_count)
    """A mirror sends so many before the first of them is answered."""
    linger_seconds: float = attrs.field(default=0.1, validator=_no_negative_seconds)
    """A mirror that has sent everything lets events gather for so long, so that the cluster and
    its disk are not kept busy by many small messages."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self | None:
        """What TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS name; None when both are unset.

        TIGERBEETLE_TIMEOUT_SECONDS, TIGERBEETLE_BATCH_EVENTS and TIGERBEETLE_LINGER_SECONDS may be
        set besides.

        Raises:
            InvalidField: only one of the two is set, or a value is no good.
        """
        cluster_id, replicas = environ.get(CLUSTER_ID, ""), environ.get(REPLICAS, "")
        if not cluster_id and not replicas:
            return None
        if not cluster_id:
            raise InvalidField(CLUSTER_ID, cluster_id, f"is not set, and {REPLICAS} is: set both")
        if not replicas:
            raise InvalidField(REPLICAS, replicas, f"is not set, and {CLUSTER_ID} is: set both")
        configuration = cls.parse(cluster_id, replicas)
        if seconds := environ.get(TIMEOUT_SECONDS):
            configuration = attrs.evolve(
                configuration, timeout_seconds=_number(TIMEOUT_SECONDS, seconds)
            )
        if linger := environ.get(LINGER_SECONDS):
            configuration = attrs.evolve(
                configuration, linger_seconds=_number(LINGER_SECONDS, linger)
            )
        if events := environ.get(BATCH_EVENTS):
            configuration = attrs.evolve(
                configuration, batch_events_max=_integer(BATCH_EVENTS, events)
            )
        return configuration

    @classmethod
    def parse(cls, cluster_id: str, replicas: str) -> Self:
        """Of a decimal cluster id, and addresses parted by commas.

        Raises:
            InvalidField: one of them does not parse.
        """
        addresses = tuple(address.strip() for address in replicas.split(","))
        return cls(_integer("cluster_id", cluster_id), addresses)

    def require_client(self) -> None:
        """Without loading it.

        Raises:
            ClientMissing: the client library is not installed.
        """
        if importlib.util.find_spec("tigerbeetle") is None:
            raise ClientMissing

    def resolved(self) -> str:
        """The replicas as the client takes them, names of hosts replaced by their addresses.

        Raises:
            HostUnknown: a name is not known, or not now.
        """
        return ",".join(map(_resolved, self.replicas))

    def __str__(self) -> str:
        return f"cluster: {self.cluster_id}, replicas: {','.join(self.replicas)}"


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of ``host:port``, ``host``, ``port`` or ``[IPv6]:port``.

    Raises:
        InvalidField: it is none of these.
    """
    host, port = "127.0.0.1", str(PORT)
    if address.isascii() and address.isdecimal():
        port = address
    elif address.startswith("["):
        host, closed, rest = address[1:].partition("]")
        if not closed or not _is_ip(host) or (rest and not rest.startswith(":")):
            raise InvalidField("replicas", address, "is no address: [IPv6]:port")
        port = rest[1:] if rest else port
    else:
        host, colon, rest = address.partition(":")
        port = rest if colon else port
    if not host or set(host) - _HOST_CHARACTERS:
        raise InvalidField("replicas", address, "is no address: host:port")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= _PORT_MAX):
        raise InvalidField("replicas", address, f"has no port from 1 to {_PORT_MAX}")
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
        raise InvalidField(field, text, "is no integer") from None


def _number(field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidField(field, text, "is no number") from None
