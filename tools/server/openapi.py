"""The OpenAPI 3.1 description, generated from the operations and the ledger's classes."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import Any, Final

import attrs

from nostro.journal import (
    Account,
    AccountBalance,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    QueryFilter,
    Transfer,
)
from nostro.journal.model import FIELD_BITS, MESSAGE_EVENTS_MAX, REFUSED_FOR_GOOD
from nostro.tools.flag_names import flag_names
from nostro.tools.server import wire
from nostro.tools.server.errors import OUTCOMES
from nostro.tools.server.keys import Role
from nostro.tools.server.operations import (
    AT,
    CHAIN_EXISTS,
    FIRST_STATUS,
    FIRST_STATUSES_MAX,
    OPERATIONS,
    POSITION,
    ListOf,
    Operation,
    Shape,
)

Schema = dict[str, Any]

_ANSWER_CLASSES: Final = (Account, Transfer, AccountBalance)
_REQUEST_NAMES: Final = {Account: "NewAccount", Transfer: "NewTransfer", QueryFilter: "QueryFilter"}
_STATUSES: Final = {
    CreateAccountResult: CreateAccountStatus, CreateTransferResult: CreateTransferStatus,
}  # fmt: skip
_SECURITY: Final[list[Schema]] = [{"key": []}, {"bearer": []}, {}]
_JSON: Final = "application/json"
_DIGITS: Final[Schema] = {"type": "string", "pattern": "^[0-9]{1,39}$"}
_EXISTS: Final[Schema] = {
    "type": "boolean",
    "description": "Of a linked chain that broke at an event that exists: whether every event of"
    " the chain exists with equal fields, so that the whole chain happened before.",
}
_ERRORS: Final = {
    400: "The request is invalid; nothing was written.",
    401: "The key is missing or unknown.",
    403: "The key may only read, or the Host header is not allowed.",
    404: "It does not exist.",
    408: "The body did not arrive in time; nothing was written.",
    413: "The body or the list in it is too large; nothing was written.",
    431: "The headers are too large.",
    415: "The Content-Type is not application/json, or the body is compressed.",
    500: "An internal error; the server's log has the details.",
    503: "The disk failed and the server must be restarted, or the server is stopping.",
    507: "The disk is full; nothing was written.",
}
_ERROR: Final[Schema] = {
    "type": {"type": "string"},
    "message": {"type": "string"},
    "field": {"type": "string"},
    "row": {"type": "integer", "description": "Counts from 0."},
    "outcome": {
        "enum": list(OUTCOMES),
        "description": "Whether the request wrote anything. If it is unknown, send the same ids"
        " again.",
    },
}
_PARAMETERS: Final[dict[str, Schema]] = {
    AT: {"type": "string", "description": "A time, inclusive: RFC 3339 or nanoseconds."},
    POSITION: {"type": "integer", "minimum": 0, "description": "A position, inclusive."},
}


def describe() -> Schema:
    """The whole description."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    paths["/openapi.json"] = {
        "get": {
            "operationId": "openapi",
            "summary": "This description.",
            "security": _SECURITY,
            "responses": {
                "200": {"description": "The answer.", **_content({"type": "object"})},
                **_errors(401, 403, 431),
            },
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nostro",
            "version": importlib.metadata.version("nostro"),
            "description": "A double-entry ledger. Names and statuses are TigerBeetle's.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": _schemas(),
        },
    }


def _operation(operation: Operation) -> Schema:
    statuses = {400, 403, 431, 500, 503}
    described: Schema = {"operationId": operation.name, "summary": operation.summary}
    if operation.role is not Role.ANYONE:
        statuses.add(401)
        described["security"] = _SECURITY
    if parameters := [*_parameters(operation)]:
        described["parameters"] = parameters
    if operation.body is not None:
        statuses |= {408, 413, 415}
        described["requestBody"] = {"required": True, **_content(_shape(operation.body, new=True))}
    if operation.writes:
        statuses.add(507)
    if operation.path.endswith("{id}"):
        statuses.add(404)
    answer = _content(_shape(operation.answer), "text/plain" if operation.answer is str else _JSON)
    described["responses"] = {
        "200": {"description": "The answer.", **answer},
        **_errors(*sorted(statuses)),
    }
    return described


def _parameters(operation: Operation) -> Iterator[Schema]:
    if "{id}" in operation.path:
        yield {"name": "id", "in": "path", "required": True, "schema": _DIGITS}
    schemas = _PARAMETERS
    names = operation.query
    if isinstance(names, type):
        schemas = {field.name: _parameter(field.name) for field in attrs.fields(names)}
        names = tuple(name for name in schemas if name != "account_id")  # it is in the path
    for name in names:
        yield {"name": name, "in": "query", "schema": schemas[name]}


def _parameter(name: str) -> Schema:
    if name == "flags":
        return {"type": "string", "description": "Names separated by commas, or a number."}
    return {"type": "string"} if wire.is_wide(name) else _number(name)


def _schemas() -> dict[str, Schema]:
    schemas = {kind.__name__: _answer_schema(kind) for kind in _ANSWER_CLASSES}
    schemas |= {name: _request_schema(kind) for kind, name in _REQUEST_NAMES.items()}
    schemas |= {kind.__name__: _result_schema(kind) for kind in _STATUSES}
    return schemas | {
        "Health": _object(
            {
                "status": {"const": "ok"},
                "position": {"type": "integer"},
                "mirror": {"type": ["object", "null"]},
            }
        ),
        "Ready": _object({"ready": {"const": True}}),
        "Error": _object({"error": _object(_ERROR, required=("type", "message"))}),
    }


def _answer_schema(kind: type) -> Schema:
    return _object(
        {
            field.name: _flags(kind)
            if field.name == "flags"
            else _DIGITS
            if wire.is_wide(field.name)
            else _number(field.name)
            for field in attrs.fields(kind)
        }
    )


def _request_schema(kind: type) -> Schema:
    return _object(
        {
            field.name: {
                "oneOf": [_number(field.name), _flags(kind) if field.name == "flags" else _DIGITS]
            }
            for field in attrs.fields(kind)
        },
        required=(),
    )


def _result_schema(kind: type) -> Schema:
    statuses = [status.name for status in _STATUSES[kind]]
    members: Schema = {"timestamp": _DIGITS, "status": {"enum": statuses}, CHAIN_EXISTS: _EXISTS}
    if kind is CreateTransferResult:
        members[FIRST_STATUS] = {
            "enum": sorted(status.name for status in REFUSED_FOR_GOOD),
            "description": f"Of an id with the status ID_ALREADY_FAILED, the first"
            f" {FIRST_STATUSES_MAX} of a request: why it was refused.",
        }
    return _object(members, required=("timestamp", "status"))


def _number(name: str) -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": 2 ** FIELD_BITS[name] - 1}


def _flags(kind: type) -> Schema:
    return {"type": "array", "items": {"enum": list(flag_names(wire.FLAGS[kind], -1))}}


def _object(properties: Schema, required: tuple[str, ...] | None = None) -> Schema:
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    needed = list(properties if required is None else required)
    return {**made, "required": needed} if needed else made


def _shape(shape: Shape, *, new: bool = False) -> Schema:
    """The schema of a shape; ``new``: as clients send it."""
    if isinstance(shape, ListOf):
        items = _shape(shape.kind, new=new)
        return {"type": "array", "items": items, "maxItems": MESSAGE_EVENTS_MAX}
    if shape is int:
        return {"oneOf": [{"type": "integer", "minimum": 0}, _DIGITS]}
    if shape is str:
        return {"type": "string"}
    if isinstance(shape, type):
        shape = _REQUEST_NAMES[shape] if new else shape.__name__
    return {"$ref": f"#/components/schemas/{shape}"}


def _content(schema: Schema, media_type: str = _JSON) -> Schema:
    return {"content": {media_type: {"schema": schema}}}


def _errors(*statuses: int) -> Schema:
    content = _content({"$ref": "#/components/schemas/Error"})
    return {str(status): {"description": _ERRORS[status], **content} for status in statuses}
