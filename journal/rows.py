"""Between objects and rows: Account and Transfer one by one, ACCOUNT and TRANSFER in bulk."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import attrgetter, index
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import BatchTooLarge, InvalidField
from nostro.journal.fast_frozen import mutable_class
from nostro.journal.model import (
    ACCOUNT,
    AMOUNT_MAX,
    BATCH_EVENTS_MAX,
    ROW_BYTES,
    TRANSFER,
    Account,
    AccountFlags,
    Rows,
    Transfer,
    TransferFlags,
)

_MASK_64: Final = 2**64 - 1
_ROW: Final = struct.Struct("<16s16s16s16s16s16sQIIIHHQ")
_TIMESTAMP: Final = struct.Struct("<Q")
WORDS_OF_ROW: Final = struct.Struct("<12QQIIIHHQ")
"""Both row layouts have six u128 fields, of two words each, then the same widths."""
_TIMEOUT_FIELD: Final = 8
"""The number of the field ``timeout`` in a transfer."""
_ROW_TYPES: Final = (ACCOUNT, TRANSFER)
_COLUMNS_PAY: Final = 32
"""From so many rows on, reading by columns beats unpacking row by row."""
_ACCOUNT_FIELDS: Final = attrgetter(
    "id", "debits_pending", "debits_posted", "credits_pending", "credits_posted", "user_data_128",
    "user_data_64", "user_data_32", "ledger", "code", "flags", "timestamp",
)  # fmt: skip
_TRANSFER_FIELDS: Final = attrgetter(
    "id", "debit_account_id", "credit_account_id", "amount", "pending_id", "user_data_128",
    "user_data_64", "user_data_32", "timeout", "ledger", "code", "flags", "timestamp",
)  # fmt: skip


_MutableAccount: Final = mutable_class(Account)
_MutableTransfer: Final = mutable_class(Transfer)
_UNCHANGING: Final = frozenset({int, Account, Transfer})
_SETTING_NOTHING: Final[Any] = Account.__setattr__
"""Every frozen class of attrs has this method."""
_account_flags: Final = cache(AccountFlags)
_transfer_flags: Final = cache(TransferFlags)
"""By number: calling an enum takes a tenth of the time of a whole look-up."""


def account_rows(accounts: Sequence[Account] | Rows) -> Rows:
    """``ACCOUNT[n]`` of a list of accounts, or a copy of an array of that dtype.

    Raises:
        InvalidField: a field is no integer or does not fit; names the row and the field.
        BatchTooLarge: more than BATCH_EVENTS_MAX.
    """
    return _rows(accounts, ACCOUNT, Account, _pack_account, _ACCOUNT_FIELDS)


def transfer_rows(transfers: Sequence[Transfer] | Rows) -> Rows:
    """``TRANSFER[n]`` of a list of transfers, or a copy of an array of that dtype.

    Raises:
        InvalidField: a field is no integer or does not fit; names the row and the field.
        BatchTooLarge: more than BATCH_EVENTS_MAX.
    """
    return _rows(transfers, TRANSFER, Transfer, pack_transfer, _TRANSFER_FIELDS)


def owned(argument: Any, kind: Any = Sequence) -> Any:  # noqa: ANN401 - whatever callers pass
    """A copy of an argument that no caller can change: of a list or an array, with its objects.

    Anything that is no ``kind`` is not copied; it is refused later, or cannot change.

    A request may wait for others, or be carried out after its caller has given up and has filled
    the array anew.
    """
    if type(argument) is not list:  # the usual kind, without slow checks
        if isinstance(argument, np.ndarray):
            is_rows = argument.ndim == 1 and argument.dtype in _ROW_TYPES
            return _owned_rows(argument) if is_rows else argument.copy()
        if not isinstance(argument, kind) or isinstance(argument, str):
            return argument
    items = [*argument]
    if _UNCHANGING.issuperset(map(type, items)) or all(map(_is_frozen, {*map(type, items)})):
        return items
    return [*map(copy.copy, items)]


def accounts_from_rows(rows: Rows) -> list[Account]:
    return accounts_from_bytes(rows.tobytes())


def accounts_from_bytes(data: bytes | bytearray) -> list[Account]:
    """The accounts of rows, 128 bytes each."""
    accounts = []
    for (
        id_, id_high, dp, dp_high, do, do_high, cp, cp_high, co, co_high, data_128, data_high,
        data_64, data_32, _, ledger, code, flags, timestamp,
    ) in WORDS_OF_ROW.iter_unpack(data):  # fmt: skip
        account = _MutableAccount()  # most high words are zero, and then there is nothing to join
        account.id = id_high << 64 | id_ if id_high else id_
        account.debits_pending = dp_high << 64 | dp if dp_high else dp
        account.debits_posted = do_high << 64 | do if do_high else do
        account.credits_pending = cp_high << 64 | cp if cp_high else cp
        account.credits_posted = co_high << 64 | co if co_high else co
        account.user_data_128 = data_high << 64 | data_128 if data_high else data_128
        account.user_data_64 = data_64
        account.user_data_32 = data_32
        account.ledger = ledger
        account.code = code
        account.flags = _account_flags(flags)
        account.timestamp = timestamp
        account.__class__ = Account
        accounts.append(account)
    return accounts


def transfers_from_rows(rows: Rows) -> list[Transfer]:
    transfers = []
    for (
        id_, debit_account_id, credit_account_id, amount, pending_id, data_128,
        data_64, data_32, timeout, ledger, code, flags, timestamp,
    ) in columns(rows):  # fmt: skip
        transfer = _MutableTransfer()
        transfer.id = id_
        transfer.debit_account_id = debit_account_id
        transfer.credit_account_id = credit_account_id
        transfer.amount = amount
        transfer.pending_id = pending_id
        transfer.user_data_128 = data_128
        transfer.user_data_64 = data_64
        transfer.user_data_32 = data_32
        transfer.timeout = timeout
        transfer.ledger = ledger
        transfer.code = code
        transfer.flags = _transfer_flags(flags)
        transfer.timestamp = timestamp
        transfer.__class__ = Transfer
        transfers.append(transfer)
    return transfers


def check_ids(ids: Iterable[int]) -> list[int]:
    """The ids that are looked up, as a list.

    Raises:
        InvalidField: one of them is no integer, or does not fit in 128 bits.
    """
    try:
        wanted = list(ids)
    except TypeError:
        reason = f"must be a list of integers, not {type(ids).__name__}"
        raise InvalidField("ids", ids, reason) from None
    for id_ in wanted:
        if type(id_) is not int or not 0 <= id_ <= AMOUNT_MAX:
            return _check_carefully(wanted)
    return wanted


def integer(
    field: str, value: object, *, row: int | None = None, reason: str = "must be an integer"
) -> int:
    """The value of anything with ``__index__``, such as numpy's integers, as a Python int.

    Raises:
        InvalidField: it is not an integer.
    """
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidField(field, value, reason, row) from None


def _check_carefully(wanted: list[int]) -> list[int]:
    ids = [integer("id", id_, row=row) for row, id_ in enumerate(wanted)]
    for row, id_ in enumerate(ids):
        if id_ < 0:
            raise InvalidField("id", id_, "cannot be negative", row)
        if id_ > AMOUNT_MAX:
            raise InvalidField("id", id_, "does not fit in 128 bits", row)
    return ids


def columns(rows: Rows) -> Iterable[tuple[int, ...]]:
    """Every row as a tuple of Python ints, in the order of the dtype's fields."""
    if len(rows) < _COLUMNS_PAY:
        return map(_join_words, WORDS_OF_ROW.iter_unpack(rows.tobytes()))
    names = rows.dtype.names
    if names is None:
        raise AssertionError("rows without fields")
    return zip(*(field_ints(rows[name]) for name in names), strict=True)


def copy_rows(rows: Rows) -> Rows:
    """A copy, contiguous and writable.

    numpy copies rows of fields field by field: 457 µs for 8,189 rows, where their bytes take 26.
    """
    few = len(rows) < _COLUMNS_PAY
    return np.frombuffer(bytearray(rows.tobytes() if few else rows), rows.dtype)


def with_timestamps(data: bytes, timestamps: Iterable[int]) -> bytes:
    """The bytes of a few rows, at other times."""
    changed = bytearray(data)
    for number, timestamp in enumerate(timestamps, 1):
        _TIMESTAMP.pack_into(changed, number * ROW_BYTES - _TIMESTAMP.size, timestamp)
    return bytes(changed)


def _join_words(w: tuple[int, ...]) -> tuple[int, ...]:
    return (
        w[0] | w[1] << 64, w[2] | w[3] << 64, w[4] | w[5] << 64, w[6] | w[7] << 64,
        w[8] | w[9] << 64, w[10] | w[11] << 64, *w[12:],
    )  # fmt: skip


def field_ints(field: npt.NDArray[Any]) -> list[int]:
    """A column as Python ints: ``u64[n]`` as it is, ``u64[n, 2]`` joined, low word first."""
    if field.ndim == 1:
        words: list[int] = field.tolist()
        return words
    if len(field) < _COLUMNS_PAY:
        return [word | high << 64 for word, high in field.tolist()]
    low: list[int] = field[:, 0].tolist()
    if not field[:, 1].any():
        return low
    return [word | high << 64 for word, high in zip(low, field[:, 1].tolist(), strict=True)]


def u128_words(value: int) -> tuple[int, int]:
    """(low, high) words of a u128."""
    return value & _MASK_64, value >> 64


def _rows(
    items: Sequence[Any] | Rows,
    dtype: np.dtype[np.void],
    item_type: type,
    pack: Callable[[tuple[Any, ...]], bytes],
    fields: Callable[[Any], tuple[Any, ...]],
) -> Rows:
    given: object = items
    if type(given) is not list and not isinstance(given, Sequence | np.ndarray):
        name = item_type.__name__
        reason = f"must be a list of {name} objects or an array of dtype nostro.{name.upper()}"
        raise InvalidField(f"{name.lower()}s", items, reason)
    if len(items) > BATCH_EVENTS_MAX:
        raise BatchTooLarge(count=len(items), count_max=BATCH_EVENTS_MAX)
    if isinstance(items, np.ndarray):
        if items.dtype != dtype or items.ndim != 1:
            raise InvalidField(
                field="dtype",
                value=str(items.dtype),
                reason=f"must be nostro.{item_type.__name__.upper()}",
            )
        return _owned_rows(items)
    try:
        packed = b"".join([pack(fields(item)) for item in items])
    except (AttributeError, TypeError, OverflowError, struct.error):
        packed = _pack_carefully(items, dtype, item_type, pack, fields)
    return np.frombuffer(packed, dtype)


def _is_frozen(kind: type) -> bool:
    """Whether it is a class such as Account, Transfer and results."""
    return kind.__setattr__ is _SETTING_NOTHING


def _owned_rows(rows: Rows) -> Rows:
    owner: object = rows.base
    if isinstance(owner, bytes):  # They cannot change.
        return rows
    # As bytes: numpy would copy rows of fields field by field, which takes 60 times as long.
    return np.frombuffer(rows.tobytes(), rows.dtype)


def _pack_carefully(
    items: Sequence[Any],
    dtype: np.dtype[np.void],
    item_type: type,
    pack: Callable[[tuple[Any, ...]], bytes],
    fields: Callable[[Any], tuple[Any, ...]],
) -> bytes:
    """The same for integers of any type, numpy's among them.

    Raises:
        InvalidField: names the first field that is none, or does not fit.
    """
    if any(isinstance(getattr(item, "amount", 0), bool) for item in items):
        raise _first_invalid(items, dtype, item_type)
    try:
        return b"".join([pack(tuple(map(index, fields(item)))) for item in items])
    except (AttributeError, TypeError, OverflowError, struct.error):
        raise _first_invalid(items, dtype, item_type) from None


def _pack_account(values: tuple[Any, ...]) -> bytes:
    """The 128 bytes of one account: where a transfer has its timeout, it has a reserved zero."""
    return pack_transfer((*values[:_TIMEOUT_FIELD], 0, *values[_TIMEOUT_FIELD:]))


def pack_transfer(values: tuple[Any, ...]) -> bytes:
    """The 128 bytes of one transfer, given as its thirteen fields in order."""
    (id_, debit_account_id, credit_account_id, amount, pending_id, data_128,
     data_64, data_32, timeout, ledger, code, flags, timestamp) = values  # fmt: skip
    if amount is True or amount is False:
        raise TypeError("an amount must be an integer, not bool")
    return _ROW.pack(
        id_.to_bytes(16, "little"),
        debit_account_id.to_bytes(16, "little"),
        credit_account_id.to_bytes(16, "little"),
        amount.to_bytes(16, "little"),
        pending_id.to_bytes(16, "little"),
        data_128.to_bytes(16, "little"),
        data_64,
        data_32,
        timeout,
        ledger,
        code,
        flags,
        timestamp,
    )


def _first_invalid(items: Sequence[Any], dtype: np.dtype[np.void], item_type: type) -> InvalidField:
    for row, item in enumerate(items):
        if not all(hasattr(item, name) for name in dtype.names or () if name != "reserved"):
            return InvalidField(
                field=item_type.__name__, value=item, reason="is of the wrong type", row=row
            )
        for name in dtype.names or ():
            value = getattr(item, name, 0)
            bits = dtype[name].itemsize * 8
            if not hasattr(value, "__index__") or (name == "amount" and isinstance(value, bool)):
                reason = f"must be an integer, not {type(value).__name__}"
                if name == "amount":
                    reason += " (amounts are whole minor units)"
            elif index(value) < 0:
                reason = "cannot be negative"
            elif index(value) >= 2**bits:
                reason = f"does not fit in {bits} bits"
            else:
                continue
            return InvalidField(field=name, value=value, reason=reason, row=row)
    raise AssertionError("a batch failed to pack, but every field of it fits")
