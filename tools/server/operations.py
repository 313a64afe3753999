"""The table of operations over HTTP, and how each of them is carried out.

Names, arguments and answers are those of TigerBeetle's client. A request that creates is one atomic
record; its events keep their order.
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
from nostro.journal.model import MESSAGE_EVENTS_MAX
from nostro.projections import AsyncLedger
from nostro.tools.server import wire
from nostro.tools.server.errors import ApiError, api_error
from nostro.tools.server.keys import Role
from nostro.tools.server.metrics import Metrics

POSITION: Final = "position"
AT: Final = "at"
_Filter = TypeVar("_Filter", AccountFilter, QueryFilter)


@attrs.frozen
class Call:
    """One request: its parameters and its body, read from HTTP but not yet checked."""

    ledger: AsyncLedger
    metrics: Metrics
    id: str = ""
    """The id in the path."""
    query: Mapping[str, str] = attrs.field(factory=dict)
    body: Any = None


@attrs.frozen
class ListOf:
    """A list of ``kind``, in a body or an answer."""

    kind: type


Shape = type | ListOf | None
"""The content of a body or an answer: one of the ledger's classes, a list, an id (int) or text."""


@attrs.frozen
class Health:
    """This process answers; its position and the health of its mirror."""

    status: str
    position: int
    mirror: dict[str, Any] | None


@attrs.frozen
class Ready:
    """The ledger accepts writes now."""

    ready: bool


@attrs.frozen
class Operation:
    """One operation: a method on a path."""

    method: str
    path: str
    name: str
    summary: str
    role: Role
    carry_out: Callable[[Call], Awaitable[object]]
    """Returns a value for JSON, or text."""
    answer: Shape
    body: Shape = None
    query: type | tuple[str, ...] = ()
    """The names of the query parameters, or the filter whose fields they are."""
    errors: tuple[int, ...] = ()
    """HTTP statuses of errors, besides those of every operation."""

    @property
    def writes(self) -> bool:
        return self.role is Role.WRITE


async def _create_accounts(call: Call) -> object:
    accounts = wire.read_objects(Account, call.body)
    results = await call.ledger.create_accounts(accounts)
    call.metrics.created(results)
    return [wire.show_result(result) for result in results]


async def _create_transfers(call: Call) -> object:
    transfers = wire.read_objects(Transfer, call.body)
    results = await call.ledger.create_transfers(transfers)
    call.metrics.created(results)
    return [wire.show_result(result) for result in results]


async def _get_account(call: Call) -> object:
    id_ = wire.read_integer("id", call.id, bits=128)
    _only(call.query, (AT, POSITION))
    if call.query:
        past = await call.ledger.at(**_moment(call.query))
        found = await asyncio.to_thread(past.lookup_accounts, [id_])
    else:
        found = await call.ledger.lookup_accounts([id_])
    if not found:
        raise ApiError(404, "not_found", "no account has this id")
    return wire.show(found[0])


async def _get_transfer(call: Call) -> object:
    _only(call.query, ())
    found = await call.ledger.lookup_transfers([wire.read_integer("id", call.id, bits=128)])
    if not found:
        raise ApiError(404, "not_found", "no transfer has this id")
    return wire.show(found[0])


async def _lookup_accounts(call: Call) -> object:
    return _shown(await call.ledger.lookup_accounts(wire.read_ids(call.body)))


async def _lookup_transfers(call: Call) -> object:
    return _shown(await call.ledger.lookup_transfers(wire.read_ids(call.body)))


async def _get_account_transfers(call: Call) -> object:
    return _shown(await call.ledger.get_account_transfers(_account_filter(call)))


async def _get_account_balances(call: Call) -> object:
    return _shown(await call.ledger.get_account_balances(_account_filter(call)))


async def _query_accounts(call: Call) -> object:
    chosen = _limited(wire.read_object(QueryFilter, call.body))
    return _shown(await call.ledger.query_accounts(chosen))


async def _query_transfers(call: Call) -> object:
    chosen = _limited(wire.read_object(QueryFilter, call.body))
    return _shown(await call.ledger.query_transfers(chosen))


async def _health(call: Call) -> object:
    """Leaves out the mirror's addresses and errors, because this operation needs no key."""
    mirror = call.ledger.mirror
    health = mirror.health() if mirror is not None else None
    shown: dict[str, Any] | None = None
    if mirror is not None:
        shown = {"state": "starting", "connected": False, "healthy": False}
    if health is not None:
        facts = health.as_json()
        names = ("state", "connected", "healthy", "position", "lag_events", "lag_seconds")
        shown = {name: facts[name] for name in names}
    return attrs.asdict(Health("ok", call.ledger.position, shown))


async def _ready(call: Call) -> object:
    try:
        call.ledger.check_writable()
    except JournalError as error:
        raise ApiError(503, "not_ready", api_error(error).message) from None
    return attrs.asdict(Ready(ready=True))


async def _metrics(call: Call) -> object:
    return call.metrics.text(call.ledger)


OPERATIONS: Final = (
    Operation(
        "POST", "/accounts", "create_accounts", "Create accounts.", Role.WRITE,
        _create_accounts, ListOf(CreateAccountResult), ListOf(Account), errors=(413, 507),
    ),
    Operation(
        "POST", "/transfers", "create_transfers", "Create transfers.", Role.WRITE,
        _create_transfers, ListOf(CreateTransferResult), ListOf(Transfer), errors=(413, 507),
    ),
    Operation(
        "POST", "/accounts/lookup", "lookup_accounts", "Accounts by their ids.", Role.READ_ONLY,
        _lookup_accounts, ListOf(Account), ListOf(int), errors=(413,),
    ),
    Operation(
        "POST", "/transfers/lookup", "lookup_transfers", "Transfers by their ids.",
        Role.READ_ONLY, _lookup_transfers, ListOf(Transfer), ListOf(int), errors=(413,),
    ),
    Operation(
        "POST", "/accounts/query", "query_accounts", "Accounts by their fields.",
        Role.READ_ONLY, _query_accounts, ListOf(Account), QueryFilter, errors=(413,),
    ),
    Operation(
        "POST", "/transfers/query", "query_transfers", "Transfers by their fields.",
        Role.READ_ONLY, _query_transfers, ListOf(Transfer), QueryFilter, errors=(413,),
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
        _get_account_transfers, ListOf(Transfer), query=AccountFilter,
    ),
    Operation(
        "GET", "/accounts/{id}/balances", "get_account_balances",
        "The balances of an account with the flag history after each of its transfers.",
        Role.READ_ONLY, _get_account_balances, ListOf(AccountBalance), query=AccountFilter,
    ),
    Operation(
        "GET", "/health", "health", "Whether this process answers, and the health of its mirror.",
        Role.ANYONE, _health, Health,
    ),
    Operation(
        "GET", "/ready", "ready", "Whether the ledger accepts writes.",
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
            raise InvalidField(name, text, "is not a parameter of this request")


def _moment(query: Mapping[str, str]) -> dict[str, int]:
    if len(query) > 1:
        raise InvalidField(POSITION, query[POSITION], "and at cannot be combined; give one of them")
    if POSITION in query:
        return {"position": wire.read_integer(POSITION, query[POSITION], bits=64)}
    return {"timestamp": wire.read_time(AT, query[AT], day_end=True)}


def _account_filter(call: Call) -> AccountFilter:
    return _limited(
        wire.read_query(
            AccountFilter, call.query, account_id=wire.read_integer("id", call.id, bits=128)
        )
    )


def _limited(chosen: _Filter) -> _Filter:
    return attrs.evolve(chosen, limit=min(chosen.limit, MESSAGE_EVENTS_MAX))


def _shown(items: list[Any]) -> list[dict[str, Any]]:
    return [wire.show(item) for item in items]
