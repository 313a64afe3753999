"""An object filled in as a mutable class and then frozen equals one that its class makes."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from nostro.journal.fast_frozen import mutable_class
from nostro.journal.model import Account, Transfer
from nostro.journal.rows import account_rows, accounts_from_rows, transfer_rows, transfers_from_rows


@attrs.frozen(weakref_slot=False)
class Pair:
    first: int
    second: int = 2


def test_an_object_filled_in_is_one_of_the_frozen_class() -> None:
    """What was filled in equals, hashes, prints, copies and pickles as if made by the class."""
    made = mutable_class(Pair)()
    made.first, made.second = 1, 2
    made.__class__ = Pair
    assert type(made) is Pair
    assert (made, hash(made), repr(made)) == (Pair(1), hash(Pair(1)), "Pair(first=1, second=2)")
    assert pickle.loads(pickle.dumps(made)) == copy.copy(made) == Pair(1)  # noqa: S301 - our own
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, "first", 3)  # noqa: B010 - as mypy sees it, this is still to be filled in


def test_a_class_of_another_layout_is_refused_at_once() -> None:
    """A slot for weak references would keep the class from being changed."""

    @attrs.frozen
    class Referable:
        first: int

    with pytest.raises(TypeError, match="layout differs"):
        mutable_class(Referable)


def test_what_is_looked_up_is_frozen() -> None:
    """Accounts and transfers made of rows are of the public classes, every field filled in."""
    account = Account(id=2**64 + 1, debits_posted=2**127, ledger=1, code=1)
    transfer = Transfer(id=2**64 + 1, amount=2**127, ledger=1, code=1)
    [found] = accounts_from_rows(account_rows([account]))
    [moved] = transfers_from_rows(transfer_rows([transfer]))
    assert (type(found), type(moved)) == (Account, Transfer)
    assert (attrs.astuple(found), attrs.astuple(moved)) == (
        attrs.astuple(account),
        attrs.astuple(transfer),
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        found.code = 2  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        moved.code = 2  # type: ignore[misc]
