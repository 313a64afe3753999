"""Replica addresses are checked though nobody listens there."""

from __future__ import annotations

from pathlib import Path

import pytest

import nostro.dropin as tigerbeetle
from nostro.projections.dropin.addresses import check_addresses
from tests.client_arguments import ADDRESSES, ADDRESSES_INVALID, ADDRESSES_TOO_MANY


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_ports_and_ips_are_addresses(addresses: str) -> None:
    """One to six ports, IPv4 addresses or bracketed IPv6 addresses are accepted."""
    assert check_addresses(addresses) is tigerbeetle.InitStatus.SUCCESS


@pytest.mark.parametrize("addresses", ADDRESSES_INVALID)
def test_anything_else_is_refused(addresses: str) -> None:
    """Names of hosts, ports out of range, and slips of the pen are refused."""
    assert check_addresses(addresses) is tigerbeetle.InitStatus.ADDRESS_INVALID


@pytest.mark.parametrize("addresses", ADDRESSES_TOO_MANY)
def test_more_than_six_are_refused(addresses: str) -> None:
    """The count is looked at before the addresses."""
    assert check_addresses(addresses) is tigerbeetle.InitStatus.ADDRESS_LIMIT_EXCEEDED


def test_a_client_of_a_refused_address_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error carries the status, and no directory was made."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))
    with pytest.raises(tigerbeetle.InitError) as raised:
        tigerbeetle.ClientSync(0, "localhost:3000")
    assert raised.value.args == (tigerbeetle.InitStatus.ADDRESS_INVALID,)
    with pytest.raises(UnicodeEncodeError):
        tigerbeetle.ClientSync(0, "é")
    with pytest.raises(TypeError):
        tigerbeetle.ClientSync("0", "3000")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
