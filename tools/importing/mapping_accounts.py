"""Reads what a mapping file says about accounts: the customers' and the other side's."""

from __future__ import annotations

from typing import Final

from nostro.journal import AMOUNT_MAX, AccountFlags
from nostro.tools.importing.mapping import (
    AccountRule,
    CounterAccount,
    CounterRule,
    Counters,
    IdRule,
    NumberRule,
)
from nostro.tools.importing.toml_table import Table, nearest

U16_MAX: Final = 2**16 - 1

_FLAGS: Final = {
    "history": AccountFlags.HISTORY,
    "debits_must_not_exceed_credits": AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS,
    "credits_must_not_exceed_debits": AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS,
}


def account_rule(table: Table) -> AccountRule:
    """Read the accounts that one column names."""
    rule = AccountRule(
        column=table.column(),
        id=IdRule(table.choice("id", tuple(rule.value for rule in IdRule), "integer")),
        code=table.integer("code", 1, U16_MAX),
        flags=_flags(table),
    )
    table.finish()
    return rule


def _flags(table: Table) -> AccountFlags:
    flags = AccountFlags.NONE
    for name in table.texts("flags"):
        if name not in _FLAGS:
            hint = nearest(name, _FLAGS) or f" (known: {', '.join(_FLAGS)})"
            table.report("flags", f"unknown account flag {name!r}{hint}")
        flags |= _FLAGS.get(name, AccountFlags.NONE)
    limits = flags & ~AccountFlags.HISTORY
    if limits.bit_count() > 1:
        table.report("flags", "an account has one of the two limits, not both")
    return flags


def other_side(table: Table, ledger: NumberRule) -> Counters | AccountRule:
    """Read [counter]: named accounts and the rules that choose them, or a column of its own."""
    if table.has("column"):
        return account_rule(table)
    accounts = _counter_accounts(table.table("accounts"), ledger)
    rules = tuple(_counter_rule(rule, accounts) for rule in table.tables("rules"))
    default = _named(table, "default", accounts) if table.has("default") else None
    if not rules and default is None:
        table.report("", "counter needs rules, a default, or a column")
    table.finish()
    return Counters(rules, default, tuple(accounts.values()))


def _counter_accounts(table: Table, ledger: NumberRule) -> dict[str, CounterAccount]:
    accounts: dict[str, CounterAccount] = {}
    owners: dict[int, str] = {}
    for name in table.keys():  # noqa: SIM118 - a Table is no dict
        entry = table.table(name)
        given = entry.integer("id", 1, AMOUNT_MAX - 1) if entry.has("id") else None
        accounts[name] = CounterAccount(
            name, given, entry.integer("code", 1, U16_MAX), _flags(entry)
        )
        if given is not None and ledger.varies:
            entry.report("id", "an account belongs to one ledger: leave the id out when it varies")
        if given is not None and given in owners:
            entry.report("id", f"the accounts {owners[given]!r} and {name!r} have the same id")
        if given is not None:
            owners[given] = name
        entry.finish()
    return accounts


def _counter_rule(table: Table, accounts: dict[str, CounterAccount]) -> CounterRule:
    when = table.table("when")
    rule = CounterRule(
        when=tuple((column, frozenset(when.texts(column))) for column in when.keys()),  # noqa: SIM118 - a Table is no dict
        account=_named(table, "account", accounts),
    )
    if table.has("when") and not rule.when:
        table.report("when", "a rule without a condition matches every row: use counter.default")
    table.finish()
    return rule


def _named(table: Table, key: str, accounts: dict[str, CounterAccount]) -> CounterAccount:
    name = table.text(key)
    if name in accounts:
        return accounts[name]
    if name:
        table.report(key, f"no counter account is named {name!r}{nearest(name, accounts)}")
    return CounterAccount(name, None, 1, AccountFlags.NONE)
