"""TigerBeetle's change events, asked for through its Python client, which offers no method for it.

The layouts are those of ChangeEventsFilter and ChangeEvent in TigerBeetle's src/tigerbeetle.zig.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Final, Protocol, Self

import attrs

from nostro import Account, AccountFlags, Transfer, TransferFlags

OPERATION: Final = 137
_LIMIT: Final = 1_000
_U128: Final = ctypes.c_uint64 * 2

Told = tuple[int, int, Transfer, Account, Account]
"""Timestamp, type, and what the event is about."""


class _Filter(ctypes.Structure):
    _fields_ = (
        ("timestamp_min", ctypes.c_uint64),
        ("timestamp_max", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("reserved", ctypes.c_uint8 * 44),
    )

    @classmethod
    def from_param(cls, timestamp_min: int) -> Self:
        return cls(timestamp_min=timestamp_min, limit=_LIMIT)


def _account_fields(side: str) -> tuple[tuple[str, Any], ...]:
    return (
        (f"{side}_id", _U128),
        (f"{side}_debits_pending", _U128),
        (f"{side}_debits_posted", _U128),
        (f"{side}_credits_pending", _U128),
        (f"{side}_credits_posted", _U128),
        (f"{side}_user_data_128", _U128),
        (f"{side}_user_data_64", ctypes.c_uint64),
        (f"{side}_user_data_32", ctypes.c_uint32),
        (f"{side}_code", ctypes.c_uint16),
        (f"{side}_flags", ctypes.c_uint16),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("id", _U128),
        ("amount", _U128),
        ("pending_id", _U128),
        ("user_data_128", _U128),
        ("user_data_64", ctypes.c_uint64),
        ("user_data_32", ctypes.c_uint32),
        ("timeout", ctypes.c_uint32),
        ("code", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("ledger", ctypes.c_uint32),
        ("type", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 39),
        *_account_fields("debit"),
        *_account_fields("credit"),
        ("timestamp", ctypes.c_uint64),
        ("transfer_timestamp", ctypes.c_uint64),
        ("debit_timestamp", ctypes.c_uint64),
        ("credit_timestamp", ctypes.c_uint64),
    )

    def to_python(self) -> Told:
        debit, credit = self._account("debit"), self._account("credit")
        names = ("id", "debit_id", "credit_id", "amount", "pending_id", "user_data_128",
                 "user_data_64", "user_data_32", "timeout", "ledger", "code")  # fmt: skip
        transfer = Transfer(
            **{
                field.name: self._value(name)
                for field, name in zip(attrs.fields(Transfer)[: len(names)], names, strict=True)
            },
            flags=TransferFlags(self.flags),
            timestamp=self.transfer_timestamp,
        )
        return self.timestamp, self.type, transfer, debit, credit

    def _account(self, side: str) -> Account:
        values = {
            name.removeprefix(f"{side}_"): self._value(name)
            for name in (*(name for name, _ in _account_fields(side)), f"{side}_timestamp")
        }
        flags = AccountFlags(values.pop("flags"))
        return Account(**values, ledger=self.ledger, flags=flags)

    def _value(self, name: str) -> int:
        value = getattr(self, name)
        return value if isinstance(value, int) else int(value[0]) | int(value[1]) << 64


if ctypes.sizeof(_Event) != 384 or ctypes.sizeof(_Filter) != 64:
    raise AssertionError("a change event's layout does not have TigerBeetle's size")


class RawClient(Protocol):
    """A ``tigerbeetle.ClientSync``."""

    def _submit(
        self, operation: int, operations: list[Any], event_type: type, result_type: type, /
    ) -> list[Told]: ...


def change_events(client: RawClient) -> Iterator[Told]:
    """Every change event there is, by timestamp."""
    timestamp = 1
    # private: TigerBeetle's client has no public call for change events
    while events := client._submit(OPERATION, [timestamp], _Filter, _Event):
        yield from events
        timestamp = events[-1][0] + 1
