"""Everything that can be asked over HTTP: one table, and how each of it is answered.

Names, arguments and answers are those of TigerBeetle's client. What a request creates is one atomic
record, in its order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import attrs

from nostro.journal import (
    Account,
    AccountBalance,
    AccountFilter,
    CreateAccountResult,
    CreateTransferResult,
    InvalidField,
    JournalError,
    QueryFilter,
    Transfer,
)
from nostro.projections import AsyncLedger
from nostro.tools.server import wire
from nostro.tools.server.keys import Role
from nostro.tools.server.metrics import Metrics
from nostro.tools.server.refusal import Refusal, not_found, refusal_of

POSITION: Final = "position"
AT: Final = "at"
_Filter = TypeVar("_Filter", AccountFilter, QueryFilter)


@attrs.frozen
class Asked:
    """A request, taken apart."""

    ledger: AsyncLedger
    metrics: Metrics
    id: str = ""
    """What stands in the path."""
    query: Mapping[str, str] = attrs.field(factory=dict)
    body: Any = None


@attrs.frozen
class Many:
    """A list of ``kind``, in a body or an answer."""

    kind: type


Shape = type | Many | None
"""What a body or an answer is: a class of the ledger's, a list of one, an id (int) or text."""


@attrs.frozen
class Health:
    """That this process answers, and how far it is."""

    status: str
    position: int
    mirror: dict[str, Any] | None


@attrs.frozen
class Ready:
    """That what is written now would be carried out."""

    ready: bool


@attrs.frozen
class Operation:
    """One thing that can be asked."""

    method: str
    path: str
    name: str
    summary: str
    role: Role
    carry_out: Callable[[Asked], Awaitable[object]]
    """Answers with what JSON can hold, or with text."""
    answer: Shape
    body: Shape = None
    query: type | tuple[str, ...] = ()
    """Names of parameters, or the filter whose fields they are."""
    errors: tuple[int, ...] = ()
    """Statuses besides those that every operation may answer with."""

    @property
    def writes(self) -> bool:
        return self.role is Role.WRITE


async def _create_accounts(asked: Asked) -> object:
    accounts = wire.read_objects(Account, asked.body)
    results = await asked.ledger.create_accounts(accounts)
    asked.metrics.created(results)
    return [wire.show_result(result) for result in results]


async def _create_transfers(asked: Asked) -> object:
    transfers = wire.read_objects(Transfer, asked.body)
    results = await asked.ledger.create_transfers(transfers)
    asked.metrics.created(results)
    return [wire.show_result(result) for result in results]


async def _get_account(asked: Asked) -> object:
    id_ = wire.read_integer("id", asked.id, bits=128)
    _only(asked.query, (AT, POSITION))
    if asked.query:
        past = await asked.ledger.at(**_moment(asked.query))
        found = await asyncio.to_thread(past.lookup_accounts, [id_])
    else:
        found = await asked.ledger.lookup_accounts([id_])
    if not found:
        raise not_found("account")
    return wire.show(found[0])


async def _get_transfer(asked: Asked) -> object:
    _only(asked.query, ())
    found = await asked.ledger.lookup_transfers([wire.read_integer("id", asked.id, bits=128)])
    if not found:
        raise not_found("transfer")
    return wire.show(found[0])


async def _lookup_accounts(asked: Asked) -> object:
    return _shown(await asked.ledger.lookup_accounts(wire.read_ids(asked.body)))


async def _lookup_transfers(asked: Asked) -> object:
    return _shown(await asked.ledger.lookup_transfers(wire.read_ids(asked.body)))


async def _get_account_transfers(asked: Asked) -> object:
    return _shown(await asked.ledger.get_account_transfers(_account_filter(asked)))


async def _get_account_balances(asked: Asked) -> object:
    return _shown(await asked.ledger.get_account_balances(_account_filter(asked)))


async def _query_accounts(asked: Asked) -> object:
    chosen = _limited(wire.read_object(QueryFilter, asked.body))
    return _shown(await asked.ledger.query_accounts(chosen))


async def _query_transfers(asked: Asked) -> object:
    chosen = _limited(wire.read_object(QueryFilter, asked.body))
    return _shown(await asked.ledger.query_transfers(chosen))


async def _health(asked: Asked) -> object:
    """The mirror's addresses and errors are left out: no key is asked for here."""
    mirror = asked.ledger.mirror
    health = mirror.health() if mirror is not None else None
    shown: dict[str, Any] | None = None
    if mirror is not None:
        shown = {"state": "starting", "connected": False, "healthy": False}
    if health is not None:
        told = health.as_json()
        names = ("state", "connected", "healthy", "position", "lag_events", "lag_seconds")
        shown = {name: told[name] for name in names}
    return attrs.asdict(Health("ok", asked.ledger.position, shown))


async def _ready(asked: Asked) -> object:
    try:
        asked.ledger.check_writable()
    except JournalError as error:
        raise Refusal(503, "not_ready", refusal_of(error).message) from None
    return attrs.asdict(Ready(ready=True))


async def _metrics(asked: Asked) -> object:
    return asked.metrics.text(asked.ledger)


OPERATIONS: Final = (
    Operation(
        "POST", "/accounts", "create_accounts", "Create accounts.", Role.WRITE,
        _create_accounts, Many(CreateAccountResult), Many(Account), errors=(413, 507),
    ),
    Operation(
        "POST", "/transfers", "create_transfers", "Create transfers.", Role.WRITE,
        _create_transfers, Many(CreateTransferResult), Many(Transfer), errors=(413, 507),
    ),
    Operation(
        "POST", "/accounts/lookup", "lookup_accounts", "Accounts by their ids.", Role.READ_ONLY,
        _lookup_accounts, Many(Account), Many(int), errors=(413,),
    ),
    Operation(
        "POST", "/transfers/lookup", "lookup_transfers", "Transfers by their ids.",
        Role.READ_ONLY, _lookup_transfers, Many(Transfer), Many(int), errors=(413,),
    ),
    Operation(
        "POST", "/accounts/query", "query_accounts", "Accounts by their fields.",
        Role.READ_ONLY, _query_accounts, Many(Account), QueryFilter, errors=(413,),
    ),
    Operation(
        "POST", "/transfers/query", "query_transfers", "Transfers by their fields.",
        Role.READ_ONLY, _query_transfers, Many(Transfer), QueryFilter, errors=(413,),
    ),
    Operation(
        "GET", "/accounts/{id}", "get_account", "An account, now or at a past moment.",
        Role.READ_ONLY, _get_account, Account, query=(AT, POSITION), errors=(404,),
    ),
    Operation(
        "GET", "/transfers/{id}", "get_transfer", "A transfer that took effect.",
        Role.READ_ONLY, _get_transfer, Transfer, errors=(404,),
    ),
    Operation(
        "GET", "/accounts/{id}/transfers", "get_account_transfers",
        "The transfers of an account, by time.", Role.READ_ONLY,
        _get_account_transfers, Many(Transfer), query=AccountFilter,
    ),
    Operation(
        "GET", "/accounts/{id}/balances", "get_account_balances",
        "The balances of an account with the flag history after each of its transfers.",
        Role.READ_ONLY, _get_account_balances, Many(AccountBalance), query=AccountFilter,
    ),
    Operation(
        "GET", "/health", "health", "Whether this process answers, and how its mirror does.",
        Role.ANYONE, _health, Health,
    ),
    Operation(
        "GET", "/ready", "ready", "Whether what is written now would be carried out.",
        Role.ANYONE, _ready, Ready,
    ),
    Operation(
        "GET", "/metrics", "metrics", "Metrics in the Prometheus text format.",
        Role.READ_ONLY, _metrics, str,
    ),
)  # fmt: skip


def _only(query: Mapping[str, str], names: tuple[str, ...]) -> None:
    for name, text in query.items():
        if name not in names:
            raise InvalidField(name, text, "is no parameter here")


def _moment(query: Mapping[str, str]) -> dict[str, int]:
    if len(query) > 1:
        raise InvalidField(POSITION, query[POSITION], "or at is meant, and not both")
    if POSITION in query:
        return {"position": wire.read_integer(POSITION, query[POSITION], bits=64)}
    return {"timestamp": wire.read_time(AT, query[AT], day_end=True)}


def _account_filter(asked: Asked) -> AccountFilter:
    return _limited(
        wire.read_query(
            AccountFilter, asked.query, account_id=wire.read_integer("id", asked.id, bits=128)
        )
    )


def _limited(chosen: _Filter) -> _Filter:
    return attrs.evolve(chosen, limit=min(chosen.limit, wire.EVENTS_MAX))


def _shown(items: list[Any]) -> list[dict[str, Any]]:
    return [wire.show(item) for item in items]
