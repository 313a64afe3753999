"""Arguments for TigerBeetle's client and ours, and what both must make of them."""

from __future__ import annotations

from decimal import Decimal
from types import ModuleType
from typing import Any, Final, TypeVar

T = TypeVar("T")

ADDRESSES: Final = (
    "3000", "0", "65535", "1.2.3.4", "1.2.3.4:5", "0.0.0.0:0", "255.255.255.255:65535", "[::1]",
    "[::1]:30", "[::]", "[A::f]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7::]", "[::2:3:4:5:6:7:8]",
    "[0001::]", "[::00001]", "1,2,3,4,5,6", "1.2.3.4:5,4321,[::1],2.3.4.5",
)  # fmt: skip
"""Good ones."""

ADDRESSES_INVALID: Final = (
    "", ",", "3000,", ",3000", "65536", "03000", "+3", "3_0", "-1", " 3000", "3000 ", "3000\n",
    "AF", "0xff", "localhost", "localhost:3000", ".", ":", "]", "[]", "[]:3", "1.2.3", "1.2.3.4.5",
    "01.2.3.4", "1.2.3.00", "256.1.1.1", "1..3.4", "1.2.3.4:", "1.2.3.4::8", "1.2.3.4:5:6", ":92",
    "1.2.3.4:A", "1.2.3.4\x00", "::1", "::ff:92", "[::1", "::1]", "[::1]x", "[127.0.0.1]",
    "[127.0.0.1]:3001", "[fe80::1%1]", "[::ffff:1.2.3.4]", "[1:2:3:4:5:6:7]", "[1::2::3]", "[:::]",
    "[:1::]", "[12345::]", "[::G]", "[1::2:3:4:5:6:7:8]",
    "[1:2:3:4::5:6:7:8]", "[::1:2:3:4:5:6:7:8]",
)  # fmt: skip

ADDRESSES_TOO_MANY: Final = ("1,2,3,4,5,6,7", ",,,,,,")

_ODD: Final = (1.0, 1.5, "1", b"1", None, Decimal(1), -1, 2**16, 2**32, 2**64, 2**128, True, 0)
_BATCHES: Final = ("create_accounts", "create_transfers", "lookup_accounts", "lookup_transfers")
_QUERIES: Final = (
    "get_account_transfers", "get_account_balances", "query_accounts", "query_transfers"
)  # fmt: skip


def calls(package: ModuleType) -> list[tuple[str, Any]]:
    """(method, argument) of calls with odd arguments, good and bad, made of a package's classes."""
    account, transfer = package.Account, package.Transfer
    by_account = package.AccountFilter(1, 0, 0, 0, 0, 0, 0, 10, 3)
    by_fields = package.QueryFilter(0, 0, 0, 0, 0, 0, 0, 10, 0)
    collections: list[Any] = [None, 1, "12", b"", [None], [[]], [], (), {}, set(), range(2)]
    made = [(method, argument) for method in _BATCHES for argument in [*collections, iter(())]]
    made += [("lookup_accounts", [odd]) for odd in _ODD]
    made += [
        ("create_accounts", [_with(account(id=1), name, odd)])
        for name in account.__dataclass_fields__
        for odd in _ODD
    ]
    made += [
        ("create_transfers", [_with(transfer(id=1), name, odd)])
        for name in transfer.__dataclass_fields__
        for odd in _ODD
    ]
    made += [
        ("create_accounts", [transfer()]),
        ("create_transfers", [account()]),
        ("create_accounts", [account(id=1.5, code=2**16)]),  # all widths come before all types
        ("create_accounts", [account(id=1.5), account(code=2**16)]),  # the first event comes first
        ("create_accounts", [account(code="1", ledger=-1)]),
        ("create_accounts", [account(code=-1, ledger="1")]),
        ("create_accounts", [account()] * 8_190),
        ("create_accounts", [account()] * 70_000 + [account(id=-1)]),
    ]
    for method in _QUERIES:
        good, other = (
            (by_account, by_fields) if method.startswith("get") else (by_fields, by_account)
        )
        made += [(method, argument) for argument in (None, 1, [], [good], other, good)]
        made += [
            (method, _with(type(good)(*_values(good)), name, odd))
            for name in good.__dataclass_fields__
            for odd in _ODD
        ]
    return made


def _with(item: T, name: str, value: object) -> T:
    setattr(item, name, value)
    return item


def _values(item: object) -> list[Any]:
    return [getattr(item, name) for name in type(item).__dataclass_fields__]  # type: ignore[attr-defined]
