"""The OpenAPI 3.1 description, generated from the operations and the ledger's classes."""

from __future__ import annotations

import importlib.metadata
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
from nostro.journal.model import FIELD_BITS, MESSAGE_EVENTS_MAX
from nostro.tools.flag_names import flag_names
from nostro.tools.server import wire
from nostro.tools.server.errors import OUTCOMES
from nostro.tools.server.keys import Role
from nostro.tools.server.operations import (
    AT,
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
_DIGITS: Final = "^[0-9]{1,39}$"
_ERRORS: Final = {
    400: "The request is invalid; nothing was written.",
    401: "The key is missing or unknown.",
    403: "The key may only read, or the Host header is not allowed.",
    404: "It does not exist.",
    408: "The body did not arrive in time; nothing was written.",
    413: "The body or the list in it is too large; nothing was written.",
    415: "The Content-Type is not application/json, or the body is compressed.",
    500: "An internal error; the server's log has the details.",
    503: "The disk failed and the server must be restarted, or the server is stopping.",
    507: "The disk is full; nothing was written.",
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
            "security": [{"key": []}, {}],
            "responses": {"200": _content({"type": "object"}), **_errors(401, 403)},
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
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
            "schemas": _schemas(),
        },
    }


def _operation(operation: Operation) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            "200": _text() if operation.answer is str else _content(_shape(operation.answer)),
            **_errors(*_statuses(operation)),
        },
    }
    if operation.role is not Role.ANYONE:
        described["security"] = [{"key": []}, {}]
    if parameters := _parameters(operation):
        described["parameters"] = parameters
    if operation.body is not None:
        schema = _shape(operation.body, request=True)
        described["requestBody"] = {"required": True, **_content(schema, described=False)}
    return described


def _statuses(operation: Operation) -> list[int]:
    statuses = {400, 403, 500, 503, *operation.errors}
    if operation.role is not Role.ANYONE:
        statuses.add(401)
    if operation.body is not None:
        statuses |= {408, 415}
    return sorted(statuses)


def _parameters(operation: Operation) -> list[Schema]:
    parameters = []
    if "{id}" in operation.path:
        parameters.append({
            "name": "id", "in": "path", "required": True,
            "schema": {"type": "string", "pattern": _DIGITS},
        })  # fmt: skip
    if isinstance(operation.query, type):
        named = {
            name: {**schema, "description": "Names separated by commas, or a number."}
            if name == "flags"
            else schema
            for name, schema in _query_schemas(operation.query).items()
        }
    else:
        named = {name: _PARAMETERS[name] for name in operation.query}
    for name, schema in named.items():
        parameters.append({"name": name, "in": "query", "schema": schema})
    return parameters


def _query_schemas(kind: type) -> dict[str, Schema]:
    schemas = {}
    for field in attrs.fields(kind):
        if field.name == "account_id":
            continue  # it is in the path
        is_text = wire.is_wide(field.name) or field.name == "flags"
        schemas[field.name] = {"type": "string"} if is_text else _number(field.name)
    return schemas


def _schemas() -> dict[str, Schema]:
    schemas = {kind.__name__: _answer_schema(kind) for kind in _ANSWER_CLASSES}
    schemas |= {name: _request_schema(kind) for kind, name in _REQUEST_NAMES.items()}
    schemas |= {kind.__name__: _result_schema(kind) for kind in _STATUSES}
    schemas["Health"] = _object(
        {
            "status": {"const": "ok"},
            "position": {"type": "integer"},
            "mirror": {"type": ["object", "null"]},
        }
    )
    schemas["Ready"] = _object({"ready": {"const": True}})
    error = _object(
        {
            "type": {"type": "string"},
            "message": {"type": "string"},
            "field": {"type": "string"},
            "row": {"type": "integer", "description": "Counts from 0."},
            "outcome": {
                "enum": list(OUTCOMES),
                "description": "Whether the request wrote anything. If it is unknown, send the "
                "same ids again.",
            },
        },
        required=("type", "message"),
    )
    schemas["Error"] = _object({"error": error})
    return schemas


def _answer_schema(kind: type) -> Schema:
    return _object(
        {
            field.name: {"type": "array", "items": {"enum": _flag_names(kind)}}
            if field.name == "flags"
            else {"type": "string", "pattern": _DIGITS}
            if wire.is_wide(field.name)
            else _number(field.name)
            for field in attrs.fields(kind)
        }
    )


def _request_schema(kind: type) -> Schema:
    properties = {}
    for field in attrs.fields(kind):
        either = [_number(field.name), {"type": "string", "pattern": _DIGITS}]
        if field.name == "flags":
            either[1] = {"type": "array", "items": {"enum": _flag_names(kind)}}
        properties[field.name] = {"oneOf": either}
    return _object(properties, required=())


def _result_schema(kind: type) -> Schema:
    return _object(
        {
            "timestamp": {"type": "string", "pattern": _DIGITS},
            "status": {"enum": [status.name for status in _STATUSES[kind]]},
        }
    )


def _number(name: str) -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": 2 ** FIELD_BITS[name] - 1}


def _flag_names(kind: type) -> list[str]:
    return list(flag_names(wire.FLAGS[kind], -1))


def _object(properties: Schema, required: tuple[str, ...] | None = None) -> Schema:
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    needed = list(properties if required is None else required)
    return {**made, "required": needed} if needed else made


def _shape(shape: Shape, *, request: bool = False) -> Schema:
    if isinstance(shape, ListOf):
        return {
            "type": "array",
            "items": _shape(shape.kind, request=request),
            "maxItems": MESSAGE_EVENTS_MAX,
        }
    assert shape is not None, "operations without a body have no schema"
    if shape is int:
        return {
            "oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _DIGITS}]
        }
    name = _REQUEST_NAMES[shape] if request else shape.__name__
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: Schema, *, described: bool = True) -> Schema:
    content: Schema = {"content": {"application/json": {"schema": schema}}}
    return {"description": "The answer.", **content} if described else content


def _text() -> Schema:
    return {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}


def _errors(*statuses: int) -> Schema:
    reference = {"$ref": "#/components/schemas/Error"}
    return {
        str(status): {**_content(reference), "description": _ERRORS[status]} for status in statuses
    }
