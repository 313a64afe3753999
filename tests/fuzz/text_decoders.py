"""What reads text: roots, proofs, keys, exports, and what is imported."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

from nostro import Root
from nostro.journal.errors import (
    BadSignature,
    ForeignRoot,
    InvalidEvidence,
    InvalidKey,
    InvalidProof,
)
from nostro.journal.evidence.proofs import ConsistencyProof, Proof, decode_proof
from nostro.journal.evidence.signing import SigningKey, read_key
from nostro.tools.exporting import reimport
from nostro.tools.exporting.errors import ExportDamaged, ExportUnfit
from nostro.tools.importing.dates import Timeline
from nostro.tools.importing.errors import MappingError, RowRefused, SourceError
from nostro.tools.importing.mapping import FileRule, Mapping
from nostro.tools.importing.mapping_file import check_columns, read_mapping
from nostro.tools.importing.rows import Posting, RowReader
from nostro.tools.importing.source import Source
from nostro.tools.importing.survey import Survey
from tests.crash.memory import MemoryStorage
from tests.fuzz import bombs, repairs
from tests.fuzz.corpus import Corpus
from tests.fuzz.decoder import Decoder, Form

_TOLERATED: Final = 0o100600
_JSON_WORDS: Final = (
    b"NaN", b"Infinity", b"-0", b"1e999", b"9" * 4_400, b'"\\ud800"', b'"\\u0000"', b"[" * 2_000,
    b'{"a":' * 1_500, b"true", b"null", b"\xff", b"\xef\xbb\xbf", b'"a":1,"a":2', b"{}", b"[]",
    b"1.5", b"\xe2\x80\xa8", b"\x00",
)  # fmt: skip


def decoders(corpus: Corpus) -> list[Decoder]:
    key = SigningKey.load(_PEM)
    signed = tuple(root.sign(key) for root in corpus.roots)
    compact = Form(json.loads, lambda value: json.dumps(value, separators=(",", ":")).encode())
    indented = Form(json.loads, lambda value: json.dumps(value, indent=2).encode())
    return [
        Decoder(
            "root", _decode_root, tuple(root.encode() for root in (*corpus.roots, *signed)),
            (InvalidEvidence, BadSignature),
            agrees=lambda root, data: root.encode().strip() == data.strip(),
            forms=(compact,), words=_JSON_WORDS, bombs=_JSON_BOMBS,
        ),
        Decoder(
            "proof", _proof_decoder(corpus), tuple(one.encode() for one in corpus.proofs),
            (InvalidEvidence, InvalidProof, ForeignRoot),
            agrees=lambda proof, _: proof in corpus.proofs,
            forms=(indented,), words=_JSON_WORDS, bombs=_JSON_BOMBS,
        ),
        Decoder(
            "key", _decode_key, (_PEM, *_OTHER_KEYS), (InvalidKey,),
            words=(b"-----BEGIN ", b"-----END ", b"ENCRYPTED ", b"PRIVATE KEY-----\n", b"\n", b"M"),
        ),
        Decoder(
            "export", _export_decoder(corpus.folder), (corpus.export,),
            (ExportDamaged, ExportUnfit), repairs=(repairs.export,),
            forms=(Form(_open_lines, _close_lines),) * 2, words=_JSON_WORDS, bombs=_LINE_BOMBS,
        ),
        Decoder(
            "mapping", _mapping_decoder(corpus.folder), _MAPPINGS,
            (MappingError, SourceError), forms=(Form(_open_toml, _close_toml),) * 2,
            words=_TOML_WORDS, bombs=_TOML_BOMBS,
        ),
        Decoder(
            "CSV", _rows_decoder(corpus.folder, "csv"), _TABLES, (SourceError, MappingError),
            words=_CSV_WORDS, bombs=(lambda: b'a,b\n"' + b"x" * bombs.MIB,),
        ),
        Decoder(
            "JSON Lines", _rows_decoder(corpus.folder, "jsonl"), _LINES,
            (SourceError, MappingError), forms=(Form(_open_lines, _close_lines),),
            words=(*_CSV_WORDS, *_JSON_WORDS), bombs=_LINE_BOMBS,
        ),
    ]  # fmt: skip


_JSON_BOMBS: Final[tuple[bombs.Bomb, ...]] = (
    lambda: b"[" * 60_000,
    lambda: b'{"a":' * 12_000,
    lambda: b"9" * 60_000,
    lambda: b"[" * 30_000 + b"]" * 30_000,
    lambda: b'{"type":"nostro-root","version":1,"position":' + b"9" * 4_000 + b"}",
)
_LINE_BOMBS: Final[tuple[bombs.Bomb, ...]] = (
    *_JSON_BOMBS,
    lambda: b'{"nostro_export": ' + b"[" * 15_000,
    lambda: b'{"nostro_export": 1, "complete": true, "ledger_id": "00", "x": ' + b"[" * 12_000,
    lambda: b"[" * bombs.MIB,
    lambda: b'{"a":' * 200_000,
    lambda: b"\n" * bombs.MIB,
)


# --- evidence -------------------------------------------------------------------------------------


_PEM: Final = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
-----END PRIVATE KEY-----
"""
_OTHER_KEYS: Final = (
    b"""-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAAECAwQFBgcICQoL
DA0ODxAREhMUFRYXGBkaGxwdHh+hRANCAAR6WT1BgPwTYRnKqgPmwYlkRpqSkSMA
-----END PRIVATE KEY-----
""",
    b"-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n",
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
)


def _decode_root(data: bytes) -> Root:
    root = Root.decode(data)
    if root.signature is not None:
        root.check_signature()
    return root


def _proof_decoder(corpus: Corpus) -> Callable[[bytes], object]:
    old, new = corpus.roots

    def decode(data: bytes) -> Proof:
        """What holds must be what was proven."""
        proof = decode_proof(data)
        if isinstance(proof, ConsistencyProof):
            proof.check(old, new)
        else:
            proof.check(new)
        return proof

    return decode


class _KeyStorage(MemoryStorage):
    def mode(self, fd: int) -> int:  # noqa: ARG002  # all are alike
        return _TOLERATED

    def owner(self, fd: int) -> int:  # noqa: ARG002
        return os.geteuid()


def _decode_key(data: bytes) -> object:
    storage = _KeyStorage()
    storage.load("/nowhere", {"key": data})
    return read_key(Path("/nowhere/key"), storage=storage).public_key


# --- exports --------------------------------------------------------------------------------------


def _export_decoder(folder: Path) -> Callable[[bytes], object]:
    path = folder / "export.jsonl"

    def decode(data: bytes) -> object:
        """Up to the requests that would be written to a new journal."""
        path.write_bytes(data)
        reimport.is_export(path)
        # private: writing a ledger for each input would take too long
        _, events = reimport._check(path, lambda _: None)
        # private: writing a ledger for each input would take too long
        return list(reimport._Reading(path, events, lambda _: None).records())

    return decode


def _open_lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


def _close_lines(value: Any) -> bytes:  # noqa: ANN401  # of any form by now
    return repairs.export(b"".join(json.dumps(line).encode() + b"\n" for line in value))


# --- imports --------------------------------------------------------------------------------------

_MAPPINGS: Final = (
    b"""namespace = "bank"
[file]
format = "csv"
delimiter = ";"
quote = "'"
encoding = "latin-1"
trim = true
[transfer]
key = ["id", "date"]
ledger = { column = "currency", values = { EUR = 978, USD = 840 }, default = 1 }
code = 1
user_data_128 = { column = "text", as = "hash" }
user_data_64 = { column = "id", as = "integer" }
user_data_32 = { column = "kind", as = "text" }
[date]
column = "date"
format = "%Y-%m-%d"
sort = true
[amount]
column = "amount"
scale = 2
decimal_mark = ","
group_mark = "."
[customer]
column = "account"
id = "integer"
code = 7
flags = ["history"]
[direction]
column = "kind"
credit = ["in"]
debit = ["out", "fee"]
[counter]
default = "bank"
[counter.accounts.bank]
code = 2
[counter.accounts.cash]
code = 3
flags = "debits_must_not_exceed_credits"
[[counter.rules]]
when = { kind = "fee", text = ["a", "b"] }
account = "cash"
""",
    b"""namespace = "bank"
[file]
format = "jsonl"
encoding = "utf-8"
[transfer]
key = "id"
ledger = 978
code = { column = "kind", values = { in = 1, out = 2 }, default = 3 }
[date]
column = "date"
format = "rfc3339"
[amount]
column = "amount"
scale = 2
[customer]
column = "account"
id = "hash"
code = 7
[direction]
from_sign = true
[counter]
column = "other"
id = "hash"
code = 8
""",
    b"""namespace = "x"
[file]
columns = ["id", "date", "amount", "account", "kind", "text", "currency", "other"]
quote = ""
trim = false
[transfer]
key = "id"
ledger = 1
code = 1
[amount]
column = "amount"
scale = 0
[date]
column = "date"
format = "%d.%m.%y %H:%M"
[customer]
column = "account"
code = 1
[direction]
from_sign = true
[counter]
default = "c"
[counter.accounts.c]
id = 99
code = 1
""",
)
_TABLES: Final = (
    b"""id;date;amount;account;kind;text;currency;other
1;1993-05-01;2.800,00;576;out;a;EUR;x
2;1993-05-02;'6.207,00';576;in;"b;c";USD;y
3;2024-02-29;82,6;577;fee;b;;z
""",
    b"""id,date,amount,account,kind,text,currency,other
1,1993-05-01,-2800.00,576,out,"a ""quoted"" one",EUR,x
"2",1993-05-01T10:00:00.5Z,6207,577,in,"two
lines",USD,y
3,736214400,1e3,0x10,fee,\xc3\xa9,,z
""",
)
_ROWS: Final[tuple[dict[str, object], ...]] = (
    {"date": "1993-05-01", "amount": -28.5, "text": None, "currency": "EUR"},
    {"date": "1993-05-01T10:00:00.5Z", "amount": 6207, "other": {"a": [1, 2]}},
    {"date": 736214400, "amount": "1e3", "account": True, "text": "\u00e9"},
    {"date": "1993-05-02", "amount": "7", "kind": "fee", "currency": [], "text": ""},
)
_LINES: Final = (
    b"".join(
        json.dumps({"account": "576", "kind": "in", "other": "x", "id": id_, **row}).encode()
        + b"\n"
        for id_, row in enumerate(_ROWS)
    ),
)
_CSV_WORDS: Final = (
    b'"', b'""', b"'", b";", b",", b"\r", b"\n", b"\r\n", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf",
    b"NaN", b"1e999999999", b"-0", b"0x" + b"f" * 40, b"1" * 5_000, b"1_0", b"\xd9\xa1",
    b"9999-12-31", b"0001-01-01", b"2024-02-30", b"24:00:00", b"1969-12-31T23:59:59Z", b"\xc2\x85",
    b"1.234.567,89",
)  # fmt: skip
_TOML_WORDS: Final = (
    b'"utf-16"', b'"utf-7"', b'"idna"', b'"base64"', b'"punycode"', b'"undefined"', b'"rot13"',
    b'"unicode_escape"', b'"\\u0000"', b'"%d%d"', b'"%j"', b'"%Y%m%d%Y"', b'"%"', b'"%s"', b'"%c"',
    b'"unix_ns"', b'"unix_s"', b'"rfc3339"', b"0x" + b"f" * 5_000, b"9" * 5_000, b"[" * 1_500,
    b"{ a = " * 1_000, b"1979-05-27T07:32:00Z", b"nan", b"-1", b"true", b'"\\n"', b'"\\r"', b'" "',
    b'"\\t"', b'""', b'"jsonl"', b'"csv"', b"[[counter.rules]]\n", b"a.b.c = 1\n", b"'", b'"""\n',
    b"[" + b" " * 500, b'"hash"', b'"integer"', b'"text"', b"[]", b"{}", b"sort = true\n",
)  # fmt: skip
_TOML_BOMBS: Final[tuple[bombs.Bomb, ...]] = (
    lambda: b"a = " + b"[" * 100_000,
    lambda: b"a = " + b"{ a = " * 20_000,
    lambda: b"a = " + b"9" * 100_000,
    lambda: b"[" + b".".join([b"a"] * 5_000) + b"]",
    lambda: b'a = """\n[' + b" " * 5_000 + b'\n"""',
    lambda: b'a = """\n' + b"[\n" * 50_000 + b'"""',
)


def _open_toml(data: bytes) -> object:
    return tomllib.loads(data.decode())


def _close_toml(value: Any) -> bytes:  # noqa: ANN401  # of any form by now
    return "".join(f"{json.dumps(key)} = {_toml(item)}\n" for key, item in value.items()).encode()


def _toml(value: object) -> str:
    """In one line, whatever it is."""
    if isinstance(value, dict):
        items = (f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if type(value) is int and value >= 2**63:
        return hex(value)
    return json.dumps(value)


def _mapping_decoder(folder: Path) -> Callable[[bytes], object]:
    path, table, lines = (folder / name for name in ("m.toml", "rows.csv", "rows.jsonl"))
    table.write_bytes(_TABLES[0] + _TABLES[1])
    lines.write_bytes(_LINES[0])

    def decode(data: bytes) -> object:
        """A mapping that is accepted can be used."""
        path.write_bytes(data)
        mapping = read_mapping(path)
        return _read_rows(lines if mapping.file.format == "jsonl" else table, path, mapping)

    return decode


def _rows_decoder(folder: Path, form: str) -> Callable[[bytes], object]:
    path = folder / f"fuzz.{form}"
    mappings = []
    for number, content in enumerate(_MAPPINGS):
        mapping_path = folder / f"{form}-{number}.toml"
        mapping_path.write_bytes(content)
        mapping = read_mapping(mapping_path)
        if form == "jsonl":
            mapping = attrs.evolve(mapping, file=FileRule("jsonl"))
        elif mapping.file.format == "jsonl":
            mapping = attrs.evolve(mapping, file=FileRule("csv"))
        mappings.append((mapping_path, mapping))

    def decode(data: bytes) -> object:
        """With one of several mappings."""
        path.write_bytes(data)
        return _read_rows(path, *mappings[sum(data) % len(mappings)])

    return decode


def _read_rows(path: Path, mapping_path: Path, mapping: Mapping) -> object:
    """Up to the postings that would be given to a ledger."""
    with Source(path, mapping.file) as source:
        check_columns(mapping_path, mapping, source.columns)
        reader = RowReader(mapping, source.columns)
        with Survey(source.rows(), reader, mapping) as survey:
            found = list(survey)
    timeline = None if mapping.date is None else Timeline(mapping.date, now=2**60)
    for item in found:
        str(item)
        if isinstance(item, Posting) and timeline is not None:
            try:
                timeline.stamp(item.date)
            except RowRefused:
                continue
    return found
