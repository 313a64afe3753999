"""The drop-in beside the package it stands in for: names, numbers, signatures, refusals.

No server is needed: what is compared happens before a request is sent.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import nostro.dropin as ours
from tests.client_arguments import ADDRESSES, ADDRESSES_INVALID, ADDRESSES_TOO_MANY, calls

OWN_OF_THE_NATIVE_LIBRARY: Final = {
    "CAccount", "CAccountBalance", "CAccountFilter", "CClient", "CCreateAccountResult",
    "CCreateTransferResult", "CPacket", "CQueryFilter", "CTransfer", "OnCompletion",
    "tb_client_deinit", "tb_client_init", "tb_client_init_echo", "tb_client_init_parameters",
    "tb_client_register_log_callback", "tb_client_submit", "tbclient",
}  # fmt: skip
"""What the package shows without saying that it is public, and the drop-in has no use for."""
IMPORTED_FROM_ELSEWHERE: Final = {
    "Any", "Callable", "Self", "annotations", "ctypes", "dataclass", "enum", "sys",
}  # fmt: skip


@pytest.fixture
def original() -> ModuleType:
    tigerbeetle: ModuleType = pytest.importorskip("tigerbeetle")
    return tigerbeetle


@pytest.fixture
def closed(
    original: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Any]:
    """A closed client of each: (original, ours)."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))
    clients = original.ClientSync(0, "3000"), ours.ClientSync(0, "3000")
    for client in clients:
        client.close()
    return clients


def test_every_public_name_is_there(original: ModuleType) -> None:
    """``from tigerbeetle import …`` finds what it found."""
    assert set(original.__all__) <= set(ours.__all__)
    shown = {name for name in dir(original) if not name.startswith("_")}
    assert shown - set(ours.__all__) == OWN_OF_THE_NATIVE_LIBRARY | IMPORTED_FROM_ELSEWHERE
    assert all(hasattr(ours, name) for name in ours.__all__)
    assert issubclass(ours.client.InitError, Exception)
    assert original.client.InitError.__bases__ == ours.client.InitError.__bases__


def test_enums_and_flags_have_the_same_members(original: ModuleType) -> None:
    """Names, numbers, order and kind are equal."""
    compared = 0
    for name, wanted in vars(original).items():
        if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
            got = getattr(ours, name)
            assert got.__bases__ == wanted.__bases__
            assert [(it.name, it.value) for it in got] == [(it.name, it.value) for it in wanted]
            assert list(got.__members__) == list(wanted.__members__)
            compared += 1
    assert compared == 12


def test_classes_have_the_same_fields(original: ModuleType) -> None:
    """Order and defaults of fields, and how instances behave, are equal."""
    compared = 0
    for name, wanted in vars(original).items():
        if dataclasses.is_dataclass(wanted):
            got = getattr(ours, name)
            for field, other in zip(
                dataclasses.fields(got), dataclasses.fields(wanted), strict=True
            ):
                assert (field.name, field.default) == (other.name, other.default)
            numbers = range(len(dataclasses.fields(got)))
            assert repr(got(*numbers)) == repr(getattr(original, name)(*numbers))
            for attribute in ("__slots__", "__hash__", "__match_args__"):
                assert getattr(got, attribute) == getattr(wanted, attribute)
            compared += 1
    assert compared == 7


def test_errors_have_the_same_bases(original: ModuleType) -> None:
    """An ``except`` clause catches what it caught."""
    compared = 0
    for name in original.__all__:
        wanted = getattr(original, name)
        if isinstance(wanted, type) and issubclass(wanted, Exception):
            assert getattr(ours, name).__bases__ == wanted.__bases__
            compared += 1
    assert compared == 7


@pytest.mark.parametrize("name", ["ClientSync", "ClientAsync"])
def test_clients_have_the_same_methods(original: ModuleType, name: str) -> None:
    """Methods take the same arguments under the same names; coroutines are the same ones."""
    wanted, got = getattr(original, name), getattr(ours, name)
    for method, function in inspect.getmembers(wanted, inspect.isfunction):
        if not method.startswith("_") or method in ("__init__", "__enter__", "__aenter__"):
            mine = getattr(got, method)
            assert list(inspect.signature(mine).parameters) == (
                list(inspect.signature(function).parameters)
            )
            assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(function)


def test_functions_take_the_same_arguments(original: ModuleType) -> None:
    """So do ``id`` and ``configure_logging``; AMOUNT_MAX is the same."""
    for name in ("id", "configure_logging", "validate_uint"):
        wanted = inspect.signature(getattr(original, name)).parameters.values()
        got = inspect.signature(getattr(ours, name)).parameters.values()
        assert [(it.name, it.kind) for it in got] == [(it.name, it.kind) for it in wanted]
    assert ours.AMOUNT_MAX == original.AMOUNT_MAX
    assert abs(ours.id() - original.id()) < 2**80 * 60_000  # within a minute of each other


@pytest.mark.parametrize("address", [*ADDRESSES, *ADDRESSES_INVALID, *ADDRESSES_TOO_MANY, "é"])
def test_addresses_are_taken_and_refused_alike(
    original: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The same addresses are good, and the rest are refused with the same status."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))
    assert outcome_of_opening(ours, 0, address) == outcome_of_opening(original, 0, address)


@pytest.mark.parametrize(
    ("cluster_id", "addresses"),
    [("0", "1"), (None, "1"), (1.0, "1"), (0, None), (0, b"2"), (0, 3000), (0, ["1"]), (-1, "1")],
)
def test_arguments_of_the_wrong_type_are_refused_alike(
    original: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cluster_id: object,
    addresses: object,
) -> None:
    """A client is made of an integer and a string, with the same errors otherwise."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))
    assert outcome_of_opening(ours, cluster_id, addresses) == (
        outcome_of_opening(original, cluster_id, addresses)
    )


def test_arguments_of_requests_are_refused_alike(
    original: ModuleType, closed: tuple[Any, Any]
) -> None:
    """A closed client checks the argument first: each call raises the same class of error."""
    kinds = set()
    for (method, theirs), (_, mine) in zip(calls(original), calls(ours), strict=True):
        wanted = outcome(closed[0], method, theirs)
        assert outcome(closed[1], method, mine) == wanted, (method, mine)
        kinds.add(wanted)
    assert kinds == {"IntegerOverflowError", "TypeError", "AttributeError", "ClientClosedError"}


def test_closing_twice_is_an_error_in_both(closed: tuple[Any, Any]) -> None:
    """The second close finds no such client."""
    for client in closed:
        with pytest.raises(KeyError):
            client.close()


def outcome(client: object, method: str, argument: object) -> str:
    try:
        getattr(client, method)(argument)
    except Exception as raised:  # noqa: BLE001 - whatever it is, it is compared
        return type(raised).__name__
    return "answered"


def outcome_of_opening(package: ModuleType, cluster_id: object, addresses: object) -> str:
    try:
        client = package.ClientSync(cluster_id, addresses)
    except package.client.InitError as raised:
        return repr(raised)
    except Exception as raised:  # noqa: BLE001 - whatever it is, it is compared
        return type(raised).__name__
    client.close()
    return "made"
