"""Keys, roles and the Host header: which requests a server accepts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import pytest

from nostro import InvalidKey, KeyExposed
from nostro.tools.server.keys import Key, Keys, Role, read_keys
from nostro.tools.server.operations import OPERATIONS
from nostro.tools.server.running import access_to, listen
from tests.serving import ACCOUNTS, served

WRITER: Final = "w" * 64
READER: Final = "r" * 64


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def table(name: str, role: str, key: str) -> str:
    return f'[{name}]\nrole = "{role}"\nsha256 = "{sha256(key)}"\n'


GOOD: Final = table("shop", "write", WRITER) + table('"till 2"', "read_only", READER)


def write_file(path: Path, text: str = GOOD, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_file_of_keys_is_read(tmp_path: Path) -> None:
    """It has names, roles and hashes; only the key itself identifies its holder."""
    keys = read_keys(write_file(tmp_path / "keys.toml"))
    assert keys.all == (
        Key("shop", Role.WRITE, bytes.fromhex(sha256(WRITER))),
        Key("till 2", Role.READ_ONLY, bytes.fromhex(sha256(READER))),
    )
    assert keys.role_of(WRITER) is Role.WRITE
    assert keys.role_of(READER) is Role.READ_ONLY
    for unknown in ("", "w", sha256(WRITER), WRITER + "\n", "\xff" * 64):
        assert keys.role_of(unknown) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    """Another user who could write the file could add a key."""
    with pytest.raises(KeyExposed):
        read_keys(write_file(tmp_path / "keys.toml", mode=mode))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither a symbolic link nor a directory is read."""
    write_file(tmp_path / "keys.toml")
    (tmp_path / "link").symlink_to(tmp_path / "keys.toml")
    with pytest.raises(OSError, match="symbolic"):
        read_keys(tmp_path / "link")
    with pytest.raises(InvalidKey, match="regular"):
        read_keys(tmp_path)


def test_a_file_that_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """Opening a FIFO would wait for a writer."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", Path(os.devnull)):
        with pytest.raises(InvalidKey, match="must be a regular file"):
            read_keys(path)


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By root too, who may read every file: its owner could add a key."""
    path = write_file(tmp_path / "keys.toml")
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(InvalidKey, match=f"belongs to user {owner}, and this process"):
        read_keys(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no keys"),
        ("[shop", "is not valid TOML"),
        ("shop = 1", "must be a table"),
        ("[[shop]]\nrole = 'write'", "must be a table"),
        ("[shop]\nrole = 'write'", "must be a table with exactly two"),
        (GOOD.replace("role", "roles"), "must be a table with exactly two"),
        (GOOD + "until = 1\n", "exactly two entries, role and sha256"),
        (GOOD.replace('"write"', '"root"'), "role must be one of read_only, write"),
        (GOOD.replace('"write"', "1"), "role must be one of"),
        (GOOD.replace(sha256(WRITER), WRITER), "64 hexadecimal digits"),
        (GOOD.replace(sha256(WRITER), sha256(WRITER)[1:]), "64 hexadecimal digits"),
        (GOOD + table("again", "read_only", WRITER), "the same key twice"),
        (GOOD + table("shop", "write", "x"), "is not valid TOML"),
        (GOOD + table("none", "read_only", ""), r"\[none\]: sha256 is the hash of an empty key"),
        (GOOD + "#" * (1 << 20), "must have at most"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """A file that is only partly understood must not grant anything."""
    with pytest.raises(InvalidKey, match=reason):
        read_keys(write_file(tmp_path / "keys.toml", text))


def test_each_role_may_do_what_it_may(tmp_path: Path) -> None:
    """Every operation without a key, with a wrong one, with one to read and with one to write."""
    keys = read_keys(write_file(tmp_path / "keys.toml"))
    refused = {401, 403}
    with served(tmp_path / "ledger", keys=keys, hosts=None) as it:
        for presented, held in ((None, Role.ANYONE), ("x" * 64, Role.ANYONE),
                                (READER, Role.READ_ONLY), (WRITER, Role.WRITE)):  # fmt: skip
            headers = {"host": "ledger.example"}
            if presented is not None:
                headers["x-api-key"] = presented
            for operation in OPERATIONS:
                body: object = None if operation.body is None else []
                path = operation.path.replace("{id}", "1")
                position = it.ledger.position
                response = it.ask(operation.method, path, body, headers=headers)
                assert (response.status_code not in refused) == (held >= operation.role), path
                assert it.ledger.position == position
            described = it.ask("GET", "/openapi.json", headers=headers).status_code
            assert (described == 200) == (held >= Role.READ_ONLY)
    assert {each.path for each in OPERATIONS if each.role is Role.ANYONE} == {"/health", "/ready"}
    assert {each.name for each in OPERATIONS if each.writes} == {
        "create_accounts",
        "create_transfers",
    }


def test_a_write_without_the_right_key_writes_nothing(tmp_path: Path) -> None:
    """The error says whether the key is missing, unknown, or may only read."""
    keys = read_keys(write_file(tmp_path / "keys.toml"))
    with served(tmp_path / "ledger", keys=keys, hosts=None) as it:
        none = it.refused("POST", "/accounts", ACCOUNTS)
        wrong = it.refused("POST", "/accounts", ACCOUNTS, headers={"x-api-key": "guess"})
        reader = it.refused("POST", "/accounts", ACCOUNTS, headers={"x-api-key": READER})
        assert (none["status"], wrong["status"], reader["status"]) == (401, 401, 403)
        assert "the key is missing; send one key, as `x-api-key: KEY` or" in none["message"]
        assert "the key is unknown" in wrong["message"]
        written = it.ask("POST", "/accounts", ACCOUNTS, headers={"x-api-key": WRITER})
        assert written.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {WRITER}"}, 200),
        ({"authorization": f"bearer  {WRITER}"}, 200),
        ({"authorization": f"Bearer {WRITER}", "x-api-key": WRITER}, 200),
        ({"authorization": f"Bearer {READER}"}, 403),
        ({"authorization": f"Bearer {READER}", "x-api-key": WRITER}, 401),
        ({"authorization": f"Basic {WRITER}"}, 401),
        ({"authorization": WRITER}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"x-api-key": ""}, 401),
    ],
)
def test_a_key_may_come_as_a_bearer_token(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    """Beside x-api-key; two different keys are refused, because either could be meant."""
    keys = read_keys(write_file(tmp_path / "keys.toml"))
    with served(tmp_path / "ledger", keys=keys, hosts=None) as it:
        answer = it.ask("POST", "/accounts", ACCOUNTS, headers=headers)
        assert answer.status_code == status
        if status == 401:
            assert "Bearer" in answer.headers["www-authenticate"]


def test_the_key_is_asked_for_before_the_body(tmp_path: Path) -> None:
    """The server does not read the body of a request without a valid key."""
    with served(
        tmp_path / "ledger", keys=Keys((Key("a", Role.WRITE, b"x" * 32),)), hosts=None
    ) as it:
        assert it.refused("POST", "/accounts", b"{")["status"] == 401


@pytest.mark.parametrize(
    ("host", "admitted"),
    [("127.0.0.1", True), ("127.0.0.1:8080", True), ("LOCALHOST:1", True), ("localhost.", True),
     ("[::1]:8080", True), ("evil.example", False), ("127.0.0.1.evil.example", False),
     ("evil.example:8080", False), ("[::2]", False), ("", False), ("127.0.0.2", False)],
)  # fmt: skip
def test_without_keys_the_server_is_asked_under_its_own_names_only(
    tmp_path: Path, host: str, admitted: bool
) -> None:
    """A web page whose domain was made to point here (DNS rebinding) is refused everywhere."""
    hosts = frozenset({"127.0.0.1", "localhost", "::1"})
    with served(tmp_path / "ledger", hosts=hosts) as it:
        for method, path in (("GET", "/health"), ("GET", "/metrics"), ("GET", "/openapi.json"),
                             ("POST", "/accounts")):  # fmt: skip
            body: object = [] if method == "POST" else None
            response = it.ask(method, path, body, headers={"host": host})
            assert (response.status_code == 200) == admitted
            if not admitted:
                error = response.json()["error"]
                assert error["type"] == "host_not_allowed"
                assert "use one of 127.0.0.1, ::1, localhost" in error["message"]
                assert "start the server with --allowed-host " in error["message"]


@pytest.mark.parametrize("name", ["ledger.example", "Ledger.Example.", "[2001:db8::7]"])
def test_other_names_can_be_allowed(tmp_path: Path, name: str) -> None:
    """Beside this machine's own; with keys, they are the only ones."""
    keys = read_keys(write_file(tmp_path / "keys.toml"))
    with listen("127.0.0.1", 0) as listening:
        assert access_to(listening, "127.0.0.1", keys).hosts is None
        for known in (None, keys):
            access = access_to(listening, "127.0.0.1", known, [name])
            assert access.keys is known
            with served(tmp_path / "ledger", keys=None, hosts=access.hosts) as it:
                for host, status in ((name, 200), (f"{name}:80", 200), ("localhost", 200),
                                     ("evil.example", 403)):  # fmt: skip
                    assert it.ask("GET", "/health", headers={"host": host}).status_code == status
