"""What a client may send, and what its requests may cost everybody else."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from nostro import Ledger
from nostro.journal.storage.files import FileIdentity
from nostro.tools.server import strict_json, wire
from nostro.tools.server.heads import HEADER_BYTES_MAX, HEADERS_MAX
from nostro.tools.server.operations import OPERATIONS
from nostro.tools.server.running import Server
from tests.disks import HeldDisk
from tests.serving import served, transfer
from tests.storages import ObservedStorage, Operation
from tests.unit.test_server_failures import over_sockets

LARGE: Final = 8_189
HOST: Final = b"host: 127.0.0.1\r\n"


class CountedName(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedName.compared += 1
        return str.__eq__(self, str(other))

    __hash__ = str.__hash__


def test_a_repeated_name_is_found_with_one_look_at_each() -> None:
    """Twice as many names take twice as long, not four times."""
    names = [CountedName(f"name {number}") for number in range(2_000)]
    CountedName.compared = 0
    assert strict_json.repeated([(name, None) for name in names]) is None
    assert strict_json.repeated([(name, None) for name in [*names, names[-1]]]) == names[-1]
    assert CountedName.compared <= 2 * len(names)


def test_an_object_has_a_largest_number_of_keys() -> None:
    """However large the body is: 40,000 keys are refused, and so are 65."""
    for count in (65, 40_000):
        pairs = ", ".join(f'"k{number}": 1' for number in range(count))
        for text in (f"{{{pairs}}}", f"[{{}}, {{{pairs}}}]"):
            with pytest.raises(strict_json.InvalidJson, match=r"has more than|only a list"):
                strict_json.parse(text.encode())


def large(element: str, count: int = 2, *, blank: str = " " * 70_000) -> bytes:
    """A list that is parsed in pieces."""
    return f"{blank}[{blank}{f' , {blank}'.join([element] * count)}\n]\r\n\t ".encode()


@pytest.mark.parametrize(
    "element", ["{}", '{"id": "1", "flags": []}', "12", '"a]"', "[[1]]", "null", "1.5",
                json.dumps({"id": "0" * 9_000})],
)  # fmt: skip
def test_a_large_body_is_read_as_a_small_one(element: str) -> None:
    """Piece by piece, with blanks anywhere, and elements longer than a piece."""
    assert strict_json.parse(large(element)) == [json.loads(element)] * 2
    assert strict_json.parse(large(element, 0)) == json.loads(f"[{element * 0}]")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{" + b" " * 70_000 + b"}", "only a list may have more than 65,536 bytes"),
        (large("1").rstrip()[:-1], "Expecting ',' delimiter"),
        (large("1") + b"[]", "Extra data: line 3"),
        (large("1").replace(b",", b", ,"), "Expecting value"),
        (large("1").replace(b",", b" "), "Expecting ',' delimiter"),
        (large("1").replace(b"\n]", b",]"), "Expecting value"),
        (large("{'a': 1}"), "Expecting property name"),
        (large('{"a": 1, "a": 1}'), "the key 'a' appears twice"),
        (large("NaN"), "NaN is not a JSON number"),
        (large('"é"'), "not ASCII at byte"),
        (large("[" * 70_000), "nested too deeply"),
        (large('"' + "a" * 200_000), "the list has more than 65,536 bytes"),
        (b"9" * 5_000, "a number has too many digits"),
        (large("9" * 4_400), "Expecting ',' delimiter|too many digits"),
    ],
)  # fmt: skip
def test_a_large_body_is_refused_as_a_small_one(body: bytes, reason: str) -> None:
    """With the place in the whole text, and without advice for programs in Python."""
    with pytest.raises(strict_json.InvalidJson, match=reason) as caught:
        strict_json.parse(body)
    assert "sys." not in str(caught.value)


def test_a_list_without_end_is_read_no_further_than_it_may_be_long() -> None:
    """Two million elements cost no more than one too many."""
    found = strict_json.parse(b"[" + b"[]," * 2_000_000 + b"[]]")
    assert len(found) == LARGE + 1


@pytest.mark.parametrize("path", ["/health", "/accounts/1", "/accounts/1/transfers", "/nowhere"])
def test_parameters_and_headers_are_counted(tmp_path: Path, path: str) -> None:
    """On every path, also on those that take none."""
    with served(tmp_path / "ledger") as it:
        query = "&".join(f"p{number}=1" for number in range(40_000))
        assert it.refused("GET", f"{path}?{query[:200]}&a=1")["status"] in {400, 404}
        many = it.ask("GET", f"{path}?" + "&".join(["p=1"] * 33)).json()["error"]
        assert many["type"] == "too_many_parameters"
        assert "at most 32 query parameters" in many["message"]
        assert it.refused("GET", f"{path}?{query[:20_000]}")["status"] == 431
        headers = {f"h{number}": "x" for number in range(101)}
        error = it.refused("GET", path, headers=headers)
        assert (error["status"], error["type"]) == (431, "headers_too_large")
        assert it.refused("GET", path, headers={"h": "x" * 17_000})["status"] == 431


def test_a_body_that_is_no_list_is_small(tmp_path: Path) -> None:
    """A filter needs less than 64 KiB."""
    with served(tmp_path / "ledger") as it:
        body = b'{"limit": 1' + b" " * 65_536 + b"}"
        assert it.refused("POST", "/accounts/query", body)["status"] == 413


async def spoken(listening: socket.socket, *sent: bytes) -> bytes:
    """Everything that the server answers until it closes the connection."""
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    for part in sent:
        writer.write(part)
        await writer.drain()
    answer = b""
    while block := await reader.read(1 << 16):
        answer += block
    writer.close()
    return answer


def test_a_head_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Its lines and bytes are counted in whatever pieces and wherever in a connection it comes."""
    get = b"GET /health HTTP/1.1\r\n" + HOST
    many = get + b"a:\r\n" * (HEADERS_MAX + 1) + b"\r\n"
    early = b"POST /accounts HTTP/1.1\r\n" + HOST + b"content-length: 6\r\n\r\n"

    async def use(_: Server, listening: socket.socket) -> None:
        most = b"a:\r\n" * (HEADERS_MAX - 2) + b"connection: close\r\n\r\n"
        assert (await spoken(listening, get + most)).startswith(b"HTTP/1.1 200 ")
        for sent in ([many], [many[:100], many[100:]], [get + b"a: " + b"x" * HEADER_BYTES_MAX]):
            answer = await spoken(listening, *sent)
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"].startswith(
                "a request has at most 100 headers"
            )
        for first in (get + b"\r\n", early + b"[{}  ]"):
            assert b"HTTP/1.1 200" not in (await spoken(listening, first + many))[16:]
        wrong = await spoken(listening, b"GET /health HTTP/1.1\r\nno colon\r\n\r\n")
        assert b"the request is not valid HTTP/1.1" in wrong

    over_sockets(tmp_path / "ledger", HeldDisk(), use)


# --- the event loop -------------------------------------------------------------------------------


def watch(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, seen: set[int]) -> None:
    """Note the threads that call a function."""
    called: Callable[..., object] = getattr(owner, name)

    def noted(*args: object, **kwargs: object) -> object:
        seen.add(threading.get_ident())
        return called(*args, **kwargs)

    monkeypatch.setattr(owner, name, noted)  # private: an answer does not show its thread


def test_what_takes_long_is_not_done_in_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither reading 8,189 events or ids, nor showing as many answers."""
    seen: set[int] = set()
    ids = list(range(1, LARGE + 1))
    with served(tmp_path / "ledger") as it:
        for name in ("read_objects", "read_ids", "show", "show_results"):
            watch(monkeypatch, wire, name, seen)
        it.good("POST", "/accounts", [{"id": id_, "ledger": 1, "code": 1} for id_ in ids])
        results = it.good("POST", "/transfers", [transfer(id_) for id_ in ids])
        assert results[0]["status"] == "CREATED"
        assert len(it.good("POST", "/accounts/lookup", ids)) == LARGE
        assert len(it.good("POST", "/transfers/lookup", ids)) == LARGE
        assert len(it.good("GET", "/accounts/1/transfers?limit=8189")) == LARGE
        assert len(it.good("POST", "/accounts/query", {"limit": LARGE})) == LARGE
    assert seen
    assert threading.get_ident() not in seen


class ThreadsOfTheDisk(ObservedStorage):
    """Notes which threads use the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, str] = {}

    def before(self, operation: Operation) -> None:
        self.seen.setdefault(threading.get_ident(), str(operation))

    def identity_at(self, path: Path | str) -> FileIdentity | None:
        self.seen.setdefault(threading.get_ident(), f"identity of {path}")
        return super().identity_at(path)


def test_the_event_loop_never_touches_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over every operation, with records to apply to the state and a transfer that expires."""
    disk = ThreadsOfTheDisk()
    counting: set[int] = set()

    def count(ledger: Ledger) -> int:
        counting.add(threading.get_ident())
        return len(ledger.accounts())

    # private: an answer does not show which thread has counted
    monkeypatch.setattr(Ledger, "account_count", property(count))
    now = 10**18
    with served(tmp_path / "ledger", storage=disk, clock=lambda: now, expiry_seconds=10**6) as it:
        it.begin()
        it.good("POST", "/transfers", [transfer(1), transfer(2, flags=["pending"], timeout=1)])
        now += 10**10
        for operation in OPERATIONS:
            body = {"limit": 1} if operation.path.endswith("query") else []
            path = operation.path.replace("{id}", "1")
            sent = None if operation.body is None else body
            assert it.ask(operation.method, path, sent).status_code == 200
        it.good("GET", "/accounts/1?position=3")
    assert len(disk.seen) > 1
    assert threading.get_ident() not in disk.seen, disk.seen[threading.get_ident()]
    assert counting
    assert threading.get_ident() not in counting
