"""A ledger that is served in this process, without a socket.

Every answer is checked against the OpenAPI description that the server gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema
import pytest
from starlette.applications import Starlette

from nostro import AsyncLedger
from nostro.tools.server.application import BODY_SECONDS, Access, application
from nostro.tools.server.keys import Keys
from nostro.tools.server.openapi import describe
from nostro.tools.server.operations import OPERATIONS

BASE_URL: Final = "http://127.0.0.1:8080"
DESCRIPTION: Final = describe()
JSON: Final = {"content-type": "application/json"}
ACCOUNTS: Final = [{"id": id_, "ledger": 1, "code": 1} for id_ in (1, 2)]


def transfer(id_: int | str, **fields: object) -> dict[str, object]:
    """The JSON of a transfer of 5 from account 1 to account 2."""
    usual = {"debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 1, "code": 1}
    return {"id": id_, **usual, **fields}


def route_of(method: str, path: str) -> str | None:
    """The template of the operation that answers there; None if there is none."""
    for operation in OPERATIONS:
        pattern = re.sub(r"\\\{id\\\}", "[^/]+", re.escape(operation.path))
        if operation.method == method and re.fullmatch(pattern, path):
            return operation.path
    return None


def check_answer(response: httpx.Response) -> None:
    """Fail unless the server's own description says that it may answer this."""
    method, path = response.request.method, response.request.url.path
    route = route_of(method, path)
    assert response.headers["cache-control"] == "no-store"
    if route is None or method == "HEAD":
        return
    described = DESCRIPTION["paths"][route][method.lower()]["responses"][str(response.status_code)]
    [(media_type, content)] = described["content"].items()
    assert response.headers["content-type"].startswith(media_type)
    if media_type == "application/json":
        schema = {**content["schema"], "components": DESCRIPTION["components"]}
        jsonschema.Draft202012Validator(schema).validate(response.json())


class Served:
    """Sends requests and waits for the answers."""

    def __init__(self, runner: asyncio.Runner, ledger: AsyncLedger, app: Starlette) -> None:
        self.runner = runner
        self.ledger = ledger
        self.seen: set[tuple[str, str, int]] = set()
        """(method, route, status) of every answer."""
        self.app = app
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer; ``body`` is sent as JSON, or as it is when it is bytes or an iterator."""
        return self.runner.run(self.asking(method, path, body, headers=headers))

    async def asking(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        more: dict[str, Any] = {"headers": dict(headers or {})}
        if body is not None:
            is_raw = isinstance(body, bytes | AsyncIterator)
            more["content"] = body if is_raw else json.dumps(body)
            more["headers"] = {**JSON, **more["headers"]}
        response = await self.client.request(method, path, **more)
        check_answer(response)
        route = route_of(method, response.request.url.path) or ""
        self.seen.add((method, route, response.status_code))
        return response

    def good(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The answer's JSON, which must be good."""
        response = self.ask(method, path, body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The error; nothing may have been written for it. ``status`` is in it."""
        position = self.ledger.position
        response = self.ask(method, path, body, headers=headers)
        assert response.status_code >= 400, response.text
        assert self.ledger.position == position
        error: dict[str, Any] = response.json()["error"]
        return {"status": response.status_code, **error}

    def begin(self) -> None:
        """Create accounts 1 and 2."""
        results = self.good("POST", "/accounts", ACCOUNTS)
        assert [result["status"] for result in results] == ["CREATED"] * 2


@contextlib.contextmanager
def served(
    path: Path,
    *,
    keys: Keys | None = None,
    hosts: frozenset[str] | None = frozenset({"127.0.0.1"}),
    closes: type[Exception] | None = None,
    body_seconds: float = BODY_SECONDS,
    **options: object,
) -> Iterator[Served]:
    """The ledger in ``path``, opened with ``options``; ``closes`` is what closing it must raise."""
    with asyncio.Runner() as runner:
        ledger = runner.run(AsyncLedger.open(path, **options))
        try:
            yield Served(
                runner, ledger, application(ledger, Access(keys, hosts), body_seconds=body_seconds)
            )
        finally:
            with contextlib.nullcontext() if closes is None else pytest.raises(closes):
                runner.run(ledger.close())
