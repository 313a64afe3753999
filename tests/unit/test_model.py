"""The vocabulary is that of the published ``tigerbeetle`` package: names, numbers, layouts."""

from __future__ import annotations

import ctypes
import dataclasses
import enum
from types import ModuleType
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro.journal import model

ENUMS: Final = [
    "AccountFlags",
    "TransferFlags",
    "AccountFilterFlags",
    "QueryFilterFlags",
    "CreateAccountStatus",
    "CreateTransferStatus",
]
CLASSES: Final = [
    "Account",
    "Transfer",
    "CreateAccountResult",
    "CreateTransferResult",
    "AccountBalance",
    "AccountFilter",
    "QueryFilter",
]
ROWS: Final = {
    "CAccount": model.ACCOUNT,
    "CTransfer": model.TRANSFER,
    "CCreateAccountResult": model.CREATE_RESULT,
    "CCreateTransferResult": model.CREATE_RESULT,
}


@pytest.fixture(scope="module")
def tigerbeetle() -> ModuleType:
    """The published package; its native library does not exist for every machine."""
    try:
        import tigerbeetle  # noqa: PLC0415  # it may not load
    except (ImportError, OSError, NotImplementedError) as error:
        pytest.skip(f"the tigerbeetle package cannot be loaded: {error}")
    return tigerbeetle


def members(kind: type[enum.Enum]) -> dict[str, int]:
    return {name: int(member.value) for name, member in kind.__members__.items()}


@pytest.mark.parametrize("name", ENUMS)
def test_every_name_has_tigerbeetles_number(tigerbeetle: ModuleType, name: str) -> None:
    """No flag or status is missing, invented or numbered otherwise."""
    theirs = members(getattr(tigerbeetle, name))
    theirs = {key: value for key, value in theirs.items() if not key.startswith("DEPRECATED")}
    assert members(getattr(model, name)) == theirs


@pytest.mark.parametrize("name", ENUMS)
def test_flags_combine_and_statuses_do_not(tigerbeetle: ModuleType, name: str) -> None:
    """A set of flags is an IntFlag and a status is an IntEnum, there as here."""
    kind = enum.IntFlag if name.endswith("Flags") else enum.IntEnum
    assert issubclass(getattr(model, name), kind)
    assert issubclass(getattr(tigerbeetle, name), kind)


@pytest.mark.parametrize("name", CLASSES)
def test_objects_have_tigerbeetles_fields_in_order(tigerbeetle: ModuleType, name: str) -> None:
    """Positional arguments mean the same, and what may be left out there may be so here."""
    theirs: dict[str, Any] = getattr(tigerbeetle, name).__dataclass_fields__
    ours = attrs.fields(getattr(model, name))
    assert [field.name for field in ours] == list(theirs)


@pytest.mark.parametrize("name", ["Account", "Transfer"])
def test_an_empty_object_is_all_zero(tigerbeetle: ModuleType, name: str) -> None:
    """Every field of an account or a transfer may be left out, and is zero then."""
    ours, theirs = getattr(model, name)(), getattr(tigerbeetle, name)()
    assert attrs.asdict(ours) == dataclasses.asdict(theirs)
    assert not any(attrs.asdict(ours).values())


@pytest.mark.parametrize("name", ROWS)
def test_rows_have_tigerbeetles_layout(tigerbeetle: ModuleType, name: str) -> None:
    """Every field of a row lies at the same offset and has the same width as in their client."""
    structure, dtype = getattr(tigerbeetle, name), ROWS[name]
    theirs = {
        field: (getattr(structure, field).offset, getattr(structure, field).size)
        for field, *_ in structure._fields_
    }
    assert dtype.fields is not None
    ours = {field: (where[1], where[0].itemsize) for field, where in dtype.fields.items()}
    assert ours == theirs
    assert list(ours) == list(theirs)
    assert ctypes.sizeof(structure) == dtype.itemsize


@pytest.mark.parametrize("dtype", [model.ACCOUNT, model.TRANSFER])
def test_a_row_holds_what_the_object_holds(dtype: np.dtype[np.void]) -> None:
    """Field names of rows and objects are the same, but for the padding."""
    kind = {model.ACCOUNT: model.Account, model.TRANSFER: model.Transfer}[dtype]
    names = [name for name in dtype.names or () if name != "reserved"]
    assert names == [field.name for field in attrs.fields(kind)]
    assert dtype.itemsize == model.ROW_BYTES == 128


def test_bounds_are_tigerbeetles(tigerbeetle: ModuleType) -> None:
    """The largest amount is theirs; timestamps leave room for a sign."""
    assert model.AMOUNT_MAX == tigerbeetle.AMOUNT_MAX == 2**128 - 1
    assert (model.TIMESTAMP_MIN, model.TIMESTAMP_MAX) == (1, 2**63 - 1)
    assert model.BATCH_EVENTS_MAX >= 8_189


@pytest.mark.parametrize("kind", [model.CreateAccountStatus, model.CreateTransferStatus])
def test_statuses_stand_in_order_of_precedence(kind: type[enum.IntEnum]) -> None:
    """The order of definition is the order of precedence, as far as numbers alone tell it."""
    names = list(kind.__members__)
    assert names[0] == "CREATED"
    assert names.index("LINKED_EVENT_FAILED") < names.index("TIMESTAMP_MUST_BE_ZERO")
    assert names.index("EXISTS_WITH_DIFFERENT_FLAGS") < names.index("EXISTS")
    assert names.index("EXISTS") < names.index("LEDGER_MUST_NOT_BE_ZERO")


def test_transient_statuses_are_statuses_of_transfers() -> None:
    """What uses an id up is a refusal, and never a success."""
    assert set(model.CreateTransferStatus) > model.REFUSED_FOR_GOOD
    assert model.CreateTransferStatus.CREATED not in model.REFUSED_FOR_GOOD
    assert len(model.REFUSED_FOR_GOOD) == 7
