"""The ASGI application: checks access, reads bodies, and gives every answer its form."""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import to_thread
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Final

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from nostro.journal import InvalidField
from nostro.projections import AsyncLedger
from nostro.tools.server.errors import ApiError, api_error, shortened
from nostro.tools.server.heads import HEAD_TOO_LARGE, HEADER_BYTES_MAX, HEADERS_MAX
from nostro.tools.server.keys import Keys, Role
from nostro.tools.server.metrics import CONTENT_TYPE, UNMATCHED, Metrics
from nostro.tools.server.openapi import describe
from nostro.tools.server.operations import OPERATIONS, Call, Created, ListOf, Operation, Served
from nostro.tools.server.strict_json import WHOLE_BYTES_MAX, dump, repeated

BODY_BYTES_MAX: Final = 8 << 20
"""8,189 transfers take 5.6 MB if every field is as long as possible."""
BODY_SECONDS: Final = 30.0
"""The server stops waiting for a body after this time."""
SMALL_BODY_BYTES: Final = 8 * 1024
SMALL_LIST_ITEMS: Final = 32
"""The event loop itself reads a body and makes an answer up to these sizes, in less than 1 ms; a
thread does the rest."""
PARAMETERS_MAX: Final = 32
KEY_HEADERS: Final = "as `x-api-key: KEY` or `Authorization: Bearer KEY`"
DESCRIPTION_PATH: Final = "/openapi.json"
_JSON: Final = "application/json"
_log = logging.getLogger("nostro")
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@attrs.frozen
class Access:
    """Which requests the server accepts."""

    keys: Keys | None
    """None: every client may do everything."""
    hosts: frozenset[str] | None
    """The accepted names in the Host header; None: every name. Without keys, this check stops
    DNS rebinding: a web page whose domain was made to point at this machine."""

    def check(self, request: Request, role: Role) -> None:
        """Raise ApiError unless the request may do what needs ``role``."""
        host = host_name(request.headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            allowed, host = ", ".join(sorted(self.hosts)), shortened(host)
            message = f"Host {host!r} is not allowed; use one of {allowed}"
            start = f"or start the server with --allowed-host {host or 'NAME'}"
            raise ApiError(403, "host_not_allowed", f"{message}, {start}")
        if self.keys is None or role is Role.ANYONE:
            return
        presented = _presented_keys(request)
        held = self.keys.role_of(min(presented)) if len(presented) == 1 else None
        if held is None:
            problems = {0: "the key is missing", 1: "the key is unknown"}
            problem = problems.get(len(presented), "the headers hold different keys")
            raise ApiError(
                401, "unauthorized", f"{problem}; send one key, {KEY_HEADERS}",
                headers={"www-authenticate": 'ApiKey realm="nostro", Bearer realm="nostro"'},
            )  # fmt: skip
        if held < role:
            raise ApiError(403, "forbidden", "this key may only read")


def application(
    ledger: AsyncLedger, access: Access, *, body_seconds: float = BODY_SECONDS
) -> Starlette:
    """The application that serves ``ledger``; it does not close it."""
    server = _Server(ledger, access, body_seconds)
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
    def __init__(self, ledger: AsyncLedger, access: Access, body_seconds: float) -> None:
        self._served = Served(ledger, Metrics())
        self._access = access
        self._body_seconds = body_seconds
        self._description = dump(describe())

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
        """Answer a path or a method that does not exist."""
        assert isinstance(error, HTTPException)

        async def fail() -> bytes:
            type_ = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
            raise ApiError(error.status_code, type_, error.detail, headers=error.headers or {})

        return await self._answered(request, UNMATCHED, fail, role=Role.ANYONE)

    async def _answered(
        self,
        request: Request,
        route: str,
        answer: Callable[[], Awaitable[bytes | str]],
        *,
        role: Role,
        writing: bool = False,
    ) -> Response:
        """The answer, or the error, as a response; either is counted."""
        started = time.perf_counter()
        try:
            _check_head(request)
            self._access.check(request, role)
            response = _response(await answer())
        except Exception as error:  # noqa: BLE001 - becomes an answer; logged if the fault is ours
            failure = api_error(error)
            if failure.status >= 500 and failure is not error:
                _log.error("%s %s failed: %s", request.method, route, error, exc_info=error)
            response = Response(
                dump(failure.as_json(writing=writing)), failure.status,
                {**_HEADERS, **failure.headers}, _JSON,
            )  # fmt: skip
        seconds = time.perf_counter() - started
        self._served.metrics.answered(request.method, route, response.status_code, seconds)
        return response

    async def _carry_out(self, operation: Operation, request: Request) -> bytes | str:
        body = b"" if operation.body is None else await self._body(request, operation)
        call = Call(request.path_params.get("id", ""), _query(request), body)
        read, show = operation.read, operation.show
        wanted = read(call) if len(body) <= SMALL_BODY_BYTES else await to_thread(read, call)
        done = await operation.act(self._served, wanted)
        is_small = not isinstance(done, list | Created) or len(done) <= SMALL_LIST_ITEMS
        return show(done) if is_small else await to_thread(show, done)

    async def _body(self, request: Request, operation: Operation) -> bytes | bytearray:
        """The whole body.

        Raises:
            ApiError: its Content-Type is not JSON, or it is too large or too slow.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != _JSON:
            raise ApiError(415, "unsupported_media_type", f"the Content-Type must be {_JSON}")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(415, "unsupported_media_type", "the request body must not be compressed")
        bytes_max = BODY_BYTES_MAX if isinstance(operation.body, ListOf) else WHOLE_BYTES_MAX
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > bytes_max:
                        message = f"the request body is larger than {bytes_max:,} bytes"
                        raise ApiError(413, "body_too_large", message)
        except TimeoutError:
            message = f"the request body did not arrive within {self._body_seconds:g} seconds"
            raise ApiError(408, "timeout", message) from None
        except ClientDisconnect:
            message = "the connection closed before the request body was complete"
            raise ApiError(400, "disconnected", message) from None
        return body


def _response(content: bytes | str) -> Response:
    """JSON, or text for Prometheus."""
    if isinstance(content, bytes):
        return Response(content, headers=_HEADERS, media_type=_JSON)
    return Response(content, headers={**_HEADERS, "content-type": CONTENT_TYPE})


def _check_head(request: Request) -> None:
    """Refuse a request whose head would take long to read."""
    scope = request.scope
    headers, query = scope["headers"], scope["query_string"]
    size = len(scope["raw_path"]) + len(query) + sum(map(len, chain(*headers)))
    if len(headers) > HEADERS_MAX or size > HEADER_BYTES_MAX:
        raise ApiError(431, "headers_too_large", HEAD_TOO_LARGE)
    if query.count(b"&") >= PARAMETERS_MAX:
        message = f"a request has at most {PARAMETERS_MAX} query parameters"
        raise ApiError(400, "too_many_parameters", message)


def _query(request: Request) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    if (twice := repeated(pairs)) is not None:
        raise InvalidField(twice, request.query_params[twice], "is given twice")
    return dict(pairs)


def _presented_keys(request: Request) -> set[str]:
    """The different keys in the headers of a request."""
    keys = set(request.headers.getlist("x-api-key"))
    for text in request.headers.getlist("authorization"):
        scheme, _, key = text.partition(" ")
        if scheme.lower() == "bearer":
            keys.add(key.strip(" "))
    return keys


def host_name(header: str) -> str:
    """The name in a Host header, without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].rstrip(".").lower()
