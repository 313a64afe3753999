"""JSON in and out: nothing is guessed, nothing is rounded, nothing is ignored."""

from __future__ import annotations

import json
from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro import (
    Account,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    BatchTooLarge,
    InvalidField,
    QueryFilter,
    Transfer,
    TransferFlags,
)
from nostro.journal.model import FIELD_BITS
from nostro.tools.server import strict_json, wire

JAVASCRIPT_MAX: Final = 2**53 - 1


def objects_of(kind: type, flags: type) -> st.SearchStrategy[object]:
    """Accounts or transfers, every field of any value that fits."""
    fields = {
        field.name: st.integers(0, 2 ** FIELD_BITS[field.name] - 1)
        for field in attrs.fields(kind)
        if field.name != "flags"
    }
    all_flags = sum(flags)  # type: ignore[call-overload]
    return st.builds(kind, **fields, flags=st.integers(0, all_flags).map(flags))


@given(objects_of(Account, AccountFlags) | objects_of(Transfer, TransferFlags))
def test_what_is_shown_can_be_sent(item: Account | Transfer) -> None:
    """An answer, read again, is the same object; no number in it is more than JavaScript's."""
    text = strict_json.dump(wire.show(item))
    numbers = [value for value in json.loads(text).values() if isinstance(value, int)]
    assert all(number <= JAVASCRIPT_MAX for number in numbers)
    assert wire.read_object(type(item), strict_json.parse(text)) == item


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[1,]", b"\xff", b"\xef\xbb\xbf[]", b"NaN", b"[Infinity]", b"[-Infinity]",
        b'{"id": 1, "id": 2}', b'[{"a": {"b": 1, "b": 1}}]', b"1" * 5_000, b"[" * 200_000,
        b"[] []", "[]".encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """Also what is more than JSON, and what could be read in two ways."""
    with pytest.raises(strict_json.InvalidJson):
        strict_json.parse(body)


@pytest.mark.parametrize(
    "value",
    [1.0, 1.5, 1e3, -1, True, None, "", "1.0", "1e3", "-1", "+1", " 1", "1 ", "0x10", "1_0",
     "\u0661", "9" * 40, 2**128, [1], {}],
    ids=repr,
)  # fmt: skip
def test_only_integers_and_their_digits_are_integers(value: object) -> None:
    """The error names the row and the field."""
    with pytest.raises(InvalidField) as caught:
        wire.read_objects(Transfer, [{}, {"amount": value}])
    assert (caught.value.field, caught.value.row) == ("amount", 1)
    with pytest.raises(InvalidField) as caught:
        wire.read_ids([1, value])
    assert (caught.value.field, caught.value.row) == ("id", 1)


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Transfer)])
def test_every_field_has_its_width(name: str) -> None:
    """The largest value fits, as a number and as a string; one more does not."""
    largest = 2 ** FIELD_BITS[name] - 1
    for value in (largest, str(largest)) if name != "flags" else (largest,):
        assert getattr(wire.read_object(Transfer, {name: value}), name) == largest
    with pytest.raises(InvalidField, match="does not fit"):
        wire.read_object(Transfer, {name: largest + 1})


def test_flags_are_names_or_a_number() -> None:
    """Names as answers show them; what is no flag is told with those that are."""
    both = TransferFlags.LINKED | TransferFlags.PENDING
    for flags in (["linked", "pending"], ["pending", "linked", "linked"], int(both), "3"):
        assert wire.read_object(Transfer, {"flags": flags}).flags == both
    assert wire.read_object(Transfer, {"flags": []}).flags == 0
    for wrong in (["LINKED"], ["history"], [1], "linked", [None], [["linked"]]):
        with pytest.raises(InvalidField):
            wire.read_object(Transfer, {"flags": wrong})
    with pytest.raises(InvalidField, match="debits_must_not_exceed_credits, credits_must"):
        wire.read_object(Account, {"flags": ["frozen"]})


@pytest.mark.parametrize("value", [[], "x", 1, None])
def test_an_account_is_an_object(value: object) -> None:
    """And a batch is a list of them."""
    with pytest.raises(InvalidField, match="must be an object"):
        wire.read_objects(Account, [value])
    if value != []:
        with pytest.raises(InvalidField, match="must be a list"):
            wire.read_objects(Account, value)


def test_unknown_fields_are_refused() -> None:
    """A misspelt field would otherwise be a field left out."""
    with pytest.raises(InvalidField, match="is not a field of Transfer"):
        wire.read_object(Transfer, {"ammount": 1})
    with pytest.raises(InvalidField, match="is not a field of Account"):
        wire.read_object(Account, {"amount": 1})


def test_a_batch_has_a_largest_size() -> None:
    """TigerBeetle's."""
    assert len(wire.read_ids([1] * 8_189)) == 8_189
    for read in (wire.read_ids, lambda value: wire.read_objects(Account, value)):
        with pytest.raises(BatchTooLarge):
            read([{}] * 8_190)


def test_a_filter_is_read_of_parameters() -> None:
    """Times as people write them, flags by names or as a number; a bare date is the whole day."""
    parameters = {"timestamp_min": "1970-01-02", "timestamp_max": "1970-01-02", "code": "7",
                  "flags": "credits,reversed", "limit": "3",
                  "user_data_128": str(2**128 - 1)}  # fmt: skip
    day = 86_400 * 10**9
    assert wire.read_query(AccountFilter, parameters, account_id=5) == AccountFilter(
        account_id=5, timestamp_min=day, timestamp_max=2 * day - 1, code=7, limit=3,
        flags=AccountFilterFlags.CREDITS | AccountFilterFlags.REVERSED,
        user_data_128=2**128 - 1,
    )  # fmt: skip
    assert wire.read_query(QueryFilter, {"flags": "1"}).flags == 1
    for name, text in (
        ("account_id", "1"), ("ledger", "1"), ("limit", ""), ("limit", "-1"), ("limit", "1.0"),
        ("flags", ""), ("flags", "linked"), ("flags", "²"), ("timestamp_min", "yesterday"),
        ("timestamp_min", "1970-02-30"), ("code", "65536"), ("x" * 100, "1"),
    ):  # fmt: skip
        with pytest.raises(InvalidField):
            wire.read_query(AccountFilter, {name: text}, account_id=5)
