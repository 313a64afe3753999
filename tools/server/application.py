"""The ASGI application: who may ask, what is read of a body, and what every answer looks like."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from nostro.journal import InvalidField
from nostro.projections import AsyncLedger
from nostro.tools.server import wire
from nostro.tools.server.keys import Keys, Role
from nostro.tools.server.metrics import CONTENT_TYPE, UNMATCHED, Metrics
from nostro.tools.server.openapi import describe
from nostro.tools.server.operations import OPERATIONS, Asked, Operation
from nostro.tools.server.refusal import Refusal, refusal_of

BODY_BYTES_MAX: Final = 8 << 20
"""8,189 transfers with every field as long as it can be take 5.6 MB."""
BODY_SECONDS: Final = 30.0
"""A body that is not there after so long is not waited for."""
KEY_HEADER: Final = "x-api-key"
DESCRIPTION_PATH: Final = "/openapi.json"
_JSON: Final = "application/json"
_log = logging.getLogger("nostro")
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@attrs.frozen
class Access:
    """Who may ask."""

    keys: Keys | None
    """Without, everybody may do everything."""
    hosts: frozenset[str] | None
    """The names under which this server may be asked. Without keys, they keep out a page in a
    browser whose own name was made to lead here (DNS rebinding). None: every name."""

    def check(self, request: Request, role: Role) -> None:
        """Raise Refusal unless the request may do what takes ``role``."""
        if self.hosts is not None and _host(request.headers.get("host", "")) not in self.hosts:
            raise Refusal(403, "host_not_allowed", "this server is not asked under that name")
        if self.keys is None or role is Role.ANYONE:
            return
        presented = request.headers.get(KEY_HEADER)
        held = None if presented is None else self.keys.role_of(presented)
        if held is None:
            what = "none" if presented is None else "one that is not known"
            message = f"a key is needed in the header {KEY_HEADER}; there is {what}"
            headers = {"www-authenticate": 'ApiKey realm="nostro"'}
            raise Refusal(401, "unauthorized", message, headers=headers)
        if held < role:
            raise Refusal(403, "forbidden", "this key may only read")


def application(ledger: AsyncLedger, access: Access) -> Starlette:
    """What answers for ``ledger``, which it does not close."""
    server = _Server(ledger, access)
    app = Starlette(
        routes=[
            *(
                Route(operation.path, server.endpoint(operation), methods=[operation.method])
                for operation in OPERATIONS
            ),
            Route(DESCRIPTION_PATH, server.description, methods=["GET"]),
        ],
        exception_handlers={HTTPException: server.unmatched},
    )
    app.router.redirect_slashes = False
    return app


class _Server:
    def __init__(self, ledger: AsyncLedger, access: Access) -> None:
        self._ledger = ledger
        self._access = access
        self._metrics = Metrics()
        self._description = wire.dump(describe())

    def endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await self._answered(
                request, operation.path, lambda: self._carry_out(operation, request),
                role=operation.role, writing=operation.writes,
            )  # fmt: skip

        return answer

    async def description(self, request: Request) -> Response:
        async def describe_it() -> bytes:
            return self._description

        return await self._answered(request, DESCRIPTION_PATH, describe_it, role=Role.READ_ONLY)

    async def unmatched(self, request: Request, error: Exception) -> Response:
        """No such path, or not by this method."""
        assert isinstance(error, HTTPException)

        async def refuse() -> bytes:
            type_ = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
            raise Refusal(error.status_code, type_, error.detail, headers=error.headers or {})

        return await self._answered(request, UNMATCHED, refuse, role=Role.ANYONE)

    async def _answered(
        self,
        request: Request,
        route: str,
        answer: Callable[[], Awaitable[bytes | str]],
        *,
        role: Role,
        writing: bool = False,
    ) -> Response:
        """What ``answer`` gives, or a refusal; counted either way."""
        begun = time.perf_counter()
        try:
            self._access.check(request, role)
            response = _response(await answer())
        except Exception as error:  # noqa: BLE001 - answered, and logged where it is ours
            refusal = refusal_of(error)
            if refusal.status >= 500 and refusal is not error:
                _log.error("%s %s failed: %s", request.method, route, error, exc_info=error)
            response = Response(
                wire.dump(refusal.as_json(writing=writing)), refusal.status,
                {**_HEADERS, **refusal.headers}, _JSON,
            )  # fmt: skip
        seconds = time.perf_counter() - begun
        self._metrics.answered(request.method, route, response.status_code, seconds)
        return response

    async def _carry_out(self, operation: Operation, request: Request) -> bytes | str:
        asked = Asked(
            self._ledger, self._metrics, request.path_params.get("id", ""), _query(request),
            None if operation.body is None else wire.parse(await _body(request)),
        )  # fmt: skip
        value = await operation.carry_out(asked)
        return value if isinstance(value, str) else wire.dump(value)


def _response(content: bytes | str) -> Response:
    """JSON, or text for Prometheus."""
    if isinstance(content, bytes):
        return Response(content, headers=_HEADERS, media_type=_JSON)
    return Response(content, headers={**_HEADERS, "content-type": CONTENT_TYPE})


def _query(request: Request) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    query = dict(pairs)
    if len(query) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidField(twice, query[twice], "is there twice")
    return query


async def _body(request: Request) -> bytes:
    """The whole body.

    Raises:
        Refusal: it is not JSON by its own account, too large, or too slow.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise Refusal(415, "unsupported_media_type", f"the body must be {_JSON}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "unsupported_media_type", "the body must not be compressed")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES_MAX:
                    message = f"a body holds at most {BODY_BYTES_MAX:,} bytes"
                    raise Refusal(413, "body_too_large", message)
    except TimeoutError:
        raise Refusal(408, "timeout", "the body was not there in time") from None
    except ClientDisconnect:
        raise Refusal(400, "disconnected", "the body ended early") from None
    return bytes(body)


def _host(header: str) -> str:
    """The name in a Host header, without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].rstrip(".").lower()
