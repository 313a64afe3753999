"""Checks replica addresses as TigerBeetle's client does. Nothing connects to them.

::

    addresses = address *5("," address)
    address   = [ip ":"] port | ip
    ip        = IPv4 | "[" IPv6 "]"

Numbers are decimal without leading zeros, which only the groups of an IPv6 address may have. Host
names are not accepted.
"""

from __future__ import annotations

import re
from typing import Final

from nostro.projections.dropin.bindings import InitStatus

REPLICAS_MAX: Final = 6

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]*")
_GROUP: Final = re.compile(r"0*[0-9A-Fa-f]{1,4}")
_GROUPS: Final = 8
_PORT_MAX: Final = 2**16 - 1
_OCTET_MAX: Final = 2**8 - 1


def check_addresses(addresses: str) -> InitStatus:
    """SUCCESS, ADDRESS_LIMIT_EXCEEDED (more than six) or ADDRESS_INVALID."""
    listed = addresses.split(",")
    if len(listed) > REPLICAS_MAX:
        return InitStatus.ADDRESS_LIMIT_EXCEEDED
    if all(map(_is_address, listed)):
        return InitStatus.SUCCESS
    return InitStatus.ADDRESS_INVALID


def _is_address(text: str) -> bool:
    if not set(text) & set(":.]"):
        return _is_number(text, _PORT_MAX)
    if text.rfind(":") > max(text.rfind("."), text.rfind("]")):
        ip, _, port = text.rpartition(":")
        return _is_number(port, _PORT_MAX) and _is_ip(ip)
    return _is_ip(text)


def _is_ip(text: str) -> bool:
    if text.startswith("[") and text.endswith("]"):
        return _is_ip_v6(text[1:-1])
    octets = text.split(".")
    return len(octets) == 4 and all(_is_number(octet, _OCTET_MAX) for octet in octets)


def _is_ip_v6(text: str) -> bool:
    before, shortened, after = text.partition("::")
    groups = [group for part in (before, after) if part for group in part.split(":")]
    if not all(_GROUP.fullmatch(group) for group in groups):
        return False
    return len(groups) < _GROUPS if shortened else len(groups) == _GROUPS


def _is_number(text: str, number_max: int) -> bool:
    return _DECIMAL.fullmatch(text) is not None and int(text) <= number_max
