"""The table of operations over HTTP, and how each of them is carried out.

Names, arguments and answers are those of TigerBeetle's client. A request that creates is one atomic
record; its events keep their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import Any, Final, TypeVar

import attrs
import numpy as np

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
from nostro.journal.model import MESSAGE_EVENTS_MAX, CreateAccountStatus, CreateTransferStatus, Rows
from nostro.journal.rows import account_rows, field_ints, transfer_rows
from nostro.projections import AsyncLedger
from nostro.tools.server import wire
from nostro.tools.server.errors import ApiError, api_error
from nostro.tools.server.keys import Role
from nostro.tools.server.metrics import Metrics
from nostro.tools.server.strict_json import dump, dump_list, parse
from nostro.tools.server.wire import Results

POSITION: Final = "position"
AT: Final = "at"
CHAIN_EXISTS: Final = "chain_exists"
FIRST_STATUS: Final = "first_status"
FIRST_STATUSES_MAX: Final = 64
"""The server looks up why an id has failed for the first 64 such results of a request. That takes
0.2 s at worst: if each was refused in a large record of its own."""
T = TypeVar("T")
_CREATED: Final[dict[type, tuple[Callable[[Any], Rows], type[IntEnum]]]] = {
    Account: (account_rows, CreateAccountStatus),
    Transfer: (transfer_rows, CreateTransferStatus),
}
"""How rows are made of the objects that a request creates, and the statuses in its answer."""
_Filter = TypeVar("_Filter", AccountFilter, QueryFilter)


@attrs.frozen
class Call:
    """One request: its parameters and its body, read from HTTP but not yet checked."""

    id: str = ""
    """The id in the path."""
    query: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | bytearray = b""


@attrs.frozen
class Served:
    """What the requests of one server share."""

    ledger: AsyncLedger
    metrics: Metrics


@attrs.frozen(eq=False)
class Created:
    """The answer to a request that creates."""

    results: Results
    notes: Mapping[int, Mapping[str, Any]]
    """More members of some results, by index."""

    def __len__(self) -> int:
        return len(self.results)


@attrs.frozen
class ListOf:
    """A list of ``kind``, in a body or an answer."""

    kind: type


Shape = type | ListOf | str | None
"""The content of a body or an answer: one of the ledger's classes, a list, an id (int), text (str)
or the name of a schema in the description."""


@attrs.frozen
class Operation:
    """One operation: a method on a path. It is carried out in three steps: read, act, show."""

    method: str
    path: str
    name: str
    summary: str
    role: Role
    answer: Shape
    act: Callable[[Served, Any], Awaitable[Any]]
    """Takes what ``read`` returns."""
    show: Callable[[Any], bytes | str]
    """Makes JSON, or text, from the result of ``act``."""
    read: Callable[[Call], Any]
    """Checks the request and returns its content."""
    body: Shape = None
    query: type | tuple[str, ...] = ()
    """The names of the query parameters, or the filter whose fields they are."""

    @property
    def writes(self) -> bool:
        return self.role is Role.WRITE


def _creates(kind: type, result: type, path: str, name: str, summary: str) -> Operation:
    to_rows, status = _CREATED[kind]

    def read(call: Call) -> Rows:
        return to_rows(wire.read_objects(kind, parse(call.body)))

    async def create(served: Served, events: Rows) -> Created:
        results: Results = await getattr(served.ledger, name)(events)
        served.metrics.created(kind.__name__.lower(), status, results)
        return Created(results, await _notes(served.ledger, results, events))

    def show(created: Created) -> bytes:
        return wire.show_results(status, created.results, created.notes)

    return Operation(
        "POST", path, name, summary, Role.WRITE, ListOf(result), create, show, read, ListOf(kind)
    )


def _finds(
    kind: type,
    path: str,
    name: str,
    summary: str,
    read: Callable[[Call], object],
    *,
    body: Shape = None,
    query: type | tuple[str, ...] = (),
) -> Operation:
    """An operation that answers with the list that the ledger's method ``name`` returns."""

    async def find(served: Served, wanted: object) -> object:
        return await getattr(served.ledger, name)(wanted)

    return Operation(
        "GET" if body is None else "POST", path, name, summary, Role.READ_ONLY, ListOf(kind),
        find, _show_list, read, body, query,
    )  # fmt: skip


async def _notes(ledger: AsyncLedger, results: Results, events: Rows) -> dict[int, dict[str, Any]]:
    """What a status does not say: whether a whole chain exists, and why an id has failed."""
    notes: dict[int, dict[str, Any]] = {}
    with suppress(JournalError, OSError):  # the request is written; its answer must not fail now
        if (results["status"] == CreateTransferStatus.LINKED_EVENT_FAILED).any():
            for chain, exists in (await ledger.chains_sent_again(results, events)).items():
                notes |= {at: {CHAIN_EXISTS: exists} for at in chain}
        failed = np.flatnonzero(results["status"] == CreateTransferStatus.ID_ALREADY_FAILED)
        failed = failed[:FIRST_STATUSES_MAX]
        if len(failed):
            ids = field_ints(events["id"][failed])
            first = {it.transfer.id: it.status.name for it in await ledger.lookup_refusals(ids)}
            at_ids = zip(failed.tolist(), ids, strict=True)
            notes |= {at: {FIRST_STATUS: first[id_]} for at, id_ in at_ids if id_ in first}
    return notes


async def _account(served: Served, wanted: tuple[int, dict[str, int]]) -> Account:
    id_, moment = wanted
    if moment:
        past = await served.ledger.at(**moment)
        return _only_one("account", await asyncio.to_thread(past.lookup_accounts, [id_]))
    return _only_one("account", await served.ledger.lookup_accounts([id_]))


async def _transfer(served: Served, id_: int) -> Transfer:
    found = await served.ledger.lookup_transfers([id_])
    if not found and (refused := await served.ledger.lookup_refusals([id_])):
        status, timestamp = refused[0].status.name, refused[0].timestamp
        message = f"the transfer with this id was refused for good: {status}, timestamp {timestamp}"
        raise ApiError(404, "not_found", message)
    return _only_one("transfer", found)


async def _health(served: Served, _: object) -> dict[str, object]:
    """Leaves out the mirror's addresses and errors, because this operation needs no key."""
    mirror = served.ledger.mirror
    health = None if mirror is None else await asyncio.to_thread(mirror.health)
    shown: dict[str, object] | None = None
    if health is not None:
        facts = health.as_json()
        names = ("state", "connected", "healthy", "position", "lag_events", "lag_seconds")
        shown = {name: facts[name] for name in names}
    elif mirror is not None:
        shown = {"state": "starting", "connected": False, "healthy": False}
    return {"status": "ok", "position": served.ledger.position, "mirror": shown}


async def _ready(served: Served, _: object) -> dict[str, bool]:
    try:
        await served.ledger.check_writable()
    except JournalError as error:
        raise ApiError(503, "not_ready", api_error(error).message) from None
    return {"ready": True}


async def _metrics(served: Served, _: object) -> str:
    is_writable = True
    try:
        await served.ledger.check_writable()
    except JournalError:
        is_writable = False
    return await asyncio.to_thread(served.metrics.text, served.ledger, is_writable=is_writable)


def _path_id(call: Call) -> int:
    _only(call.query, ())
    return wire.read_integer("id", call.id, bits=128)


def _path_id_and_moment(call: Call) -> tuple[int, dict[str, int]]:
    _only(call.query, (AT, POSITION))
    return wire.read_integer("id", call.id, bits=128), _moment(call.query)


def _ids(call: Call) -> list[int]:
    return wire.read_ids(parse(call.body))


def _account_filter(call: Call) -> AccountFilter:
    account_id = wire.read_integer("id", call.id, bits=128)
    return _limited(wire.read_query(AccountFilter, call.query, account_id=account_id))


def _query_filter(call: Call) -> QueryFilter:
    return _limited(wire.read_object(QueryFilter, parse(call.body)))


def _nothing(call: Call) -> None:
    del call  # any query parameters: probes add their own


def _show_one(item: Account | Transfer) -> bytes:
    return dump(wire.show(item))


def _show_list(items: list[Any]) -> bytes:
    return dump_list(items, wire.show)


OPERATIONS: Final = (
    _creates(Account, CreateAccountResult, "/accounts", "create_accounts", "Create accounts."),
    _creates(Transfer, CreateTransferResult, "/transfers", "create_transfers", "Create transfers."),
    _finds(Account, "/accounts/lookup", "lookup_accounts", "Accounts by their ids.",
           _ids, body=ListOf(int)),
    _finds(Transfer, "/transfers/lookup", "lookup_transfers", "Transfers by their ids.",
           _ids, body=ListOf(int)),
    _finds(Account, "/accounts/query", "query_accounts", "Accounts by their fields.",
           _query_filter, body=QueryFilter),
    _finds(Transfer, "/transfers/query", "query_transfers", "Transfers by their fields.",
           _query_filter, body=QueryFilter),
    Operation(
        "GET", "/accounts/{id}", "get_account", "An account, now or at a past moment.",
        Role.READ_ONLY, Account, _account, _show_one, _path_id_and_moment, query=(AT, POSITION),
    ),
    Operation(
        "GET", "/transfers/{id}", "get_transfer", "A transfer that took effect.",
        Role.READ_ONLY, Transfer, _transfer, _show_one, _path_id,
    ),
    _finds(Transfer, "/accounts/{id}/transfers", "get_account_transfers",
           "The transfers of an account, by time.", _account_filter, query=AccountFilter),
    _finds(AccountBalance, "/accounts/{id}/balances", "get_account_balances",
           "The balances of an account with the flag history after each of its transfers.",
           _account_filter, query=AccountFilter),
    Operation(
        "GET", "/health", "health", "Whether this process answers, and the health of its mirror.",
        Role.ANYONE, "Health", _health, dump, _nothing,
    ),
    Operation(
        "GET", "/ready", "ready", "Whether the ledger accepts writes.",
        Role.ANYONE, "Ready", _ready, dump, _nothing,
    ),
    Operation(
        "GET", "/metrics", "metrics", "Metrics in the Prometheus text format.",
        Role.READ_ONLY, str, _metrics, str, _nothing,
    ),
)  # fmt: skip


def _only_one(what: str, found: list[T]) -> T:
    if not found:
        raise ApiError(404, "not_found", f"no {what} has this id")
    return found[0]


def _only(query: Mapping[str, str], names: tuple[str, ...]) -> None:
    for name, text in query.items():
        if name not in names:
            raise InvalidField(name, text, "is not a parameter of this request")


def _moment(query: Mapping[str, str]) -> dict[str, int]:
    if len(query) > 1:
        raise InvalidField(POSITION, query[POSITION], "and at cannot be combined; give one of them")
    if POSITION in query:
        return {"position": wire.read_integer(POSITION, query[POSITION], bits=64)}
    if AT in query:
        return {"timestamp": wire.read_time(AT, query[AT], day_end=True)}
    return {}


def _limited(chosen: _Filter) -> _Filter:
    return attrs.evolve(chosen, limit=min(chosen.limit, MESSAGE_EVENTS_MAX))
