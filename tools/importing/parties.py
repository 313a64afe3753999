"""The two sides of a posting: which accounts a row names, and which the rules choose for it."""

from __future__ import annotations

import functools
from typing import Final

import attrs

from nostro.journal import AccountFlags
from nostro.tools.ids import parse_id
from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.ids import derived_id
from nostro.tools.importing.mapping import AccountRule, Counters, Mapping

_CACHED_MAX: Final = 50_000


@attrs.frozen
class Party:
    """One side of a posting: an account as it is to be created if it is not there yet."""

    id: int
    ledger: int
    code: int
    flags: AccountFlags


class ColumnParties:
    """The accounts that one column names."""

    def __init__(self, mapping: Mapping, rule: AccountRule, at: dict[str, int], kind: str) -> None:
        self._rule = rule
        self._at = at[rule.column]
        self._hashed = rule.id == "hash"
        self._varies = mapping.transfer.ledger_varies
        self._namespace = mapping.namespace
        self._kind = kind
        self._party = functools.lru_cache(_CACHED_MAX)(self._new)

    def read(self, cells: list[str], ledger: int) -> Party:
        return self._party(cells[self._at], ledger)

    def _new(self, text: str, ledger: int) -> Party:
        if not text:
            raise RowRefused("account is empty", f"in column {self._rule.column!r}")
        return Party(self._account_id(text, ledger), ledger, self._rule.code, self._rule.flags)

    def _account_id(self, text: str, ledger: int) -> int:
        if self._hashed:
            return _account_id(self._namespace, self._kind, text, ledger, varies=self._varies)
        try:
            return parse_id(text)
        except ValueError:
            raise RowRefused("account id is not from 1 to 2**128 - 2", repr(text)) from None


class RuledParties:
    """The counter-accounts that rules choose; the first that matches."""

    def __init__(self, mapping: Mapping, rules: Counters, at: dict[str, int]) -> None:
        self._mapping = mapping
        self._accounts = rules.accounts
        self._default = rules.default
        self._rules = rules.rules
        self._columns = tuple(dict.fromkeys(name for rule in rules.rules for name in rule.when))
        self._at = [at[column] for column in self._columns]
        self._party = functools.lru_cache(_CACHED_MAX)(self._new)

    def read(self, cells: list[str], ledger: int) -> Party:
        return self._party(ledger, *[cells[index] for index in self._at])

    def _new(self, ledger: int, *values: str) -> Party:
        name = self._match(dict(zip(self._columns, values, strict=True)))
        account = self._accounts[name]
        identity = account.id or counter_id(self._mapping, name, ledger)
        return Party(identity, ledger, account.code, account.flags)

    def _match(self, row: dict[str, str]) -> str:
        for rule in self._rules:
            if all(row[column] in values for column, values in rule.when.items()):
                return rule.account
        if self._default is None:
            found = ", ".join(f"{column}={value!r}" for column, value in row.items())
            raise RowRefused("no rule chooses a counter-account", found)
        return self._default


def counter_id(mapping: Mapping, name: str, ledger: int) -> int:
    """Return the id that follows from a counter-account's name (and ledger, if that varies)."""
    varies = mapping.transfer.ledger_varies
    return _account_id(mapping.namespace, "counter", name, ledger, varies=varies)


def _account_id(namespace: str, kind: str, text: str, ledger: int, *, varies: bool) -> int:
    # An account belongs to one ledger, so one name in two ledgers means two accounts.
    return derived_id(namespace, kind, text, *([str(ledger)] if varies else []))
