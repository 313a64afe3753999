"""Which cluster, from the environment or by hand; and all that is no cluster's address."""

from __future__ import annotations

import importlib.util
import socket
from typing import Any, Final

import attrs
import pytest

from nostro import AMOUNT_MAX, InvalidField
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration, host_and_port
from nostro.projections.tigerbeetle.errors import ClientMissing, HostUnknown

BOTH: Final = {"TIGERBEETLE_CLUSTER_ID": "7", "TIGERBEETLE_REPLICAS": "a:1,127.0.0.1:2, 3003"}


def test_the_environment_names_a_cluster() -> None:
    found = ClusterConfiguration.from_environment(BOTH)
    assert found == ClusterConfiguration(7, ("a:1", "127.0.0.1:2", "3003"))
    assert str(found) == "cluster: 7, replicas: a:1,127.0.0.1:2,3003"


@pytest.mark.parametrize("names", [(), *([name] for name in BOTH), tuple(BOTH)])
def test_unset_and_empty_are_the_same(names: tuple[str, ...]) -> None:
    """Neither names a cluster."""
    assert ClusterConfiguration.from_environment(dict.fromkeys(names, "")) is None


@pytest.mark.parametrize("missing", BOTH)
@pytest.mark.parametrize("is_empty", [False, True])
def test_both_or_none(missing: str, *, is_empty: bool) -> None:
    """A cluster id without addresses, or the other way round, is a mistake that is told."""
    environ = {**BOTH, missing: ""}
    if not is_empty:
        del environ[missing]
    with pytest.raises(InvalidField, match=f"{missing}.* set both"):
        ClusterConfiguration.from_environment(environ)


def test_the_environment_says_how_to_speak_with_it() -> None:
    found = ClusterConfiguration.from_environment(
        {**BOTH, "TIGERBEETLE_TIMEOUT_SECONDS": "1.5", "TIGERBEETLE_BATCH_EVENTS": "250"}
    )
    assert found is not None
    assert (found.timeout_seconds, found.batch_events_max) == (1.5, 250)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIGERBEETLE_CLUSTER_ID", "-1"),
        ("TIGERBEETLE_CLUSTER_ID", str(2**128)),
        ("TIGERBEETLE_CLUSTER_ID", "0x1"),
        ("TIGERBEETLE_CLUSTER_ID", "one"),
        ("TIGERBEETLE_CLUSTER_ID", "1.0"),
        ("TIGERBEETLE_TIMEOUT_SECONDS", "0"),
        ("TIGERBEETLE_TIMEOUT_SECONDS", "-1"),
        ("TIGERBEETLE_TIMEOUT_SECONDS", "nan"),
        ("TIGERBEETLE_TIMEOUT_SECONDS", "inf"),
        ("TIGERBEETLE_TIMEOUT_SECONDS", "soon"),
        ("TIGERBEETLE_BATCH_EVENTS", "0"),
        ("TIGERBEETLE_BATCH_EVENTS", "8190"),
        ("TIGERBEETLE_BATCH_EVENTS", "2.5"),
        ("TIGERBEETLE_REPLICAS", ",".join(["3001"] * 7)),
    ],
)
def test_what_is_out_of_range_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidField):
        ClusterConfiguration.from_environment({**BOTH, name: value})


@pytest.mark.parametrize("cluster_id", [0, AMOUNT_MAX])
def test_any_number_of_128_bits_is_a_cluster_id(cluster_id: int) -> None:
    assert ClusterConfiguration.parse(str(cluster_id), "3001").cluster_id == cluster_id


@pytest.mark.parametrize(
    "limits",
    [
        {"batch_events_max": 8_190},
        {"batch_events_max": 0},
        {"batches_in_flight_max": 4},
        {"batches_in_flight_max": 0},
    ],
)
def test_limits_hold_when_it_is_made_by_hand(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        attrs.evolve(ClusterConfiguration(7, ("3001",)), **limits)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("3000", "127.0.0.1", 3000),
        ("65535", "127.0.0.1", 65535),
        ("10.0.0.1", "10.0.0.1", 3001),
        ("10.0.0.1:3000", "10.0.0.1", 3000),
        ("ledger-1.example", "ledger-1.example", 3001),
        ("ledger_1:1", "ledger_1", 1),
        ("[::1]", "::1", 3001),
        ("[2001:db8::1]:3000", "2001:db8::1", 3000),
    ],
)
def test_addresses(address: str, host: str, port: int) -> None:
    assert host_and_port(address) == (host, port)
    assert ClusterConfiguration(7, (address,)).replicas == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "", " ", ":", ":3000", "0", "65536", "99999999999", "a:", "a:b", "a:0", "a:65536",
        "a:-1", "a:1:2", "::1", "[::1", "[::1]3000", "[::1]:", "[::1]:0", "[a]:3000", "[]:1",
        "a b:1", "a/b", "tcp://a:1", "a,b", "a\n", "ä:1", "a:²", "a:1 ",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidField):
        ClusterConfiguration(7, (address,))


def test_an_empty_place_in_the_list_is_refused() -> None:
    with pytest.raises(InvalidField):
        ClusterConfiguration.parse("7", "3001,,3002")
    with pytest.raises(InvalidField):
        ClusterConfiguration(7, ())


def test_names_of_hosts_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """When connecting, for the client takes none; IPv4 before IPv6."""

    def known(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert host == "ledger-1"
        found = [(socket.AF_INET6, 1, 6, "", ("2001:db8::7", port, 0, 0))]
        if port == 1:
            found.append((socket.AF_INET, 1, 6, "", ("10.0.0.7", port)))  # type: ignore[arg-type]
        return list(found)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    configuration = ClusterConfiguration(7, ("ledger-1:1", "ledger-1:2", "3000", "[::1]:4"))
    assert configuration.resolved() == "10.0.0.7:1,[2001:db8::7]:2,127.0.0.1:3000,[::1]:4"


def test_how_long_events_gather() -> None:
    """A tenth of a second, not at all, or as the environment says."""
    environ = {"TIGERBEETLE_CLUSTER_ID": "7", "TIGERBEETLE_REPLICAS": "3001"}
    for text, seconds in ((None, 0.1), ("0", 0.0), ("2.5", 2.5)):
        said = {} if text is None else {"TIGERBEETLE_LINGER_SECONDS": text}
        configuration = ClusterConfiguration.from_environment(environ | said)
        assert configuration is not None
        assert configuration.linger_seconds == seconds
    for text in ("-1", "inf", "nan", "soon"):
        with pytest.raises(InvalidField):
            ClusterConfiguration.from_environment(environ | {"TIGERBEETLE_LINGER_SECONDS": text})


def test_an_unknown_host_is_told_when_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    configuration = ClusterConfiguration(7, ("nowhere.invalid",))
    with pytest.raises(HostUnknown, match=r"nowhere\.invalid: Name or service not known"):
        configuration.resolved()


def test_a_missing_client_is_told_without_loading_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ClientMissing, match=r"pip install 'nostro\[tigerbeetle\]'"):
        ClusterConfiguration(7, ("3001",)).require_client()
