"""Forged roots and proofs: nostro and the stranger's verifier refuse the same files."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any, Final
from unittest import mock

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nostro import Account, Ledger, Transfer
from nostro.journal import CreateTransferStatus, EventTree
from nostro.journal.evidence.signing import SigningKey, new_key
from tests.documents import ROOT
from tests.integration.test_cli import good, run

VERIFIER: Final = ROOT / "docs" / "guides" / "verify_proof.py"
REFUSED_ID: Final = 50

Fields = dict[str, Any]


@attrs.frozen
class Files:
    """What a checker is given: a proof, the root it is for, the older root of a growth proof."""

    proof: bytes
    root: bytes
    older: bytes | None = None
    public_key: str | None = None


@attrs.frozen
class Desk:
    """Honest files, and a key for those who forge their own."""

    folder: Path
    key: SigningKey
    created: Files
    refused: Files
    grown: Files
    not_grown: Files
    newer: bytes
    foreign: bytes
    of_account: bytes
    code: CodeType

    def verdicts(self, files: Files) -> tuple[bool, bool]:
        """Whether nostro accepts the files, and whether the stranger's verifier does."""
        names = {"proof": files.proof, "root": files.root, "older": files.older}
        paths = [self.folder / name for name, data in names.items() if data is not None]
        for path in paths:
            path.write_bytes(names[path.name] or b"")
        key = () if files.public_key is None else ("--public-key", files.public_key)
        older = () if files.older is None else ("--from", self.folder / "older")
        result = run("verify-proof", *paths[:2], *older, *key)
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result.exit_code == 0, self._stranger(*paths, *key)

    def _stranger(self, *args: object) -> bool:
        said = io.StringIO()
        with (
            mock.patch.object(sys, "argv", ["verify_proof.py", *map(str, args)]),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            try:
                exec(self.code, {"__name__": "__main__"})  # noqa: S102 - it is a program
            except SystemExit as stop:
                return not stop.code
        return True


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    transfers = [
        Transfer(id=number, debit_account_id=1, credit_account_id=2, amount=number, ledger=1,
                 code=1, user_data_128=2**127 + number)
        for number in range(1, 30)
    ]  # fmt: skip
    transfers.append(attrs.evolve(transfers[0], id=REFUSED_ID, credit_account_id=99))
    for name in ("books", "other"):
        with Ledger.open(folder / name) as ledger:
            ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
            ledger.create_transfers(transfers)
    books, key, made = folder / "books", new_key(folder / "key"), {}
    for name, command in {
        "root": ("root", books, "--key", folder / "key"),
        "foreign.root": ("root", folder / "other", "--key", folder / "key"),
        "older.root": ("root", books, "--at", 13, "--key", folder / "key"),
        "created": ("prove", books, 17),
        "refused": ("prove", books, REFUSED_ID),
        "grown": ("prove", books, "--from", folder / "older.root"),
        "not-grown": ("prove", books, "--from", folder / "root"),
    }.items():
        good(*command, "--out", folder / name)
        made[name] = (folder / name).read_bytes()
    of_account = EventTree(books).prove_inclusion(1).encode()
    with Ledger.open(books) as ledger:
        ledger.create_transfers([attrs.evolve(transfers[0], id=60)])
    good("root", books, "--key", folder / "key", "--out", folder / "newer")
    return Desk(
        folder,
        key,
        created=Files(made["created"], made["root"]),
        refused=Files(made["refused"], made["root"]),
        grown=Files(made["grown"], made["root"], made["older.root"]),
        not_grown=Files(made["not-grown"], made["root"], made["root"]),
        newer=(folder / "newer").read_bytes(),
        foreign=made["foreign.root"],
        of_account=of_account,
        code=compile(VERIFIER.read_text(), str(VERIFIER), "exec"),
    )


# --- forging --------------------------------------------------------------------------------------


def pretty(fields: object) -> bytes:
    return json.dumps(fields, indent=2).encode()


def line(fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def with_proof(files: Files, change: Callable[[Fields], object]) -> Files:
    """The files with a proof that ``change`` has changed, or whose text it returns."""
    fields = json.loads(files.proof)
    made = change(fields)
    return attrs.evolve(files, proof=made if isinstance(made, bytes) else pretty(fields))


def with_root(files: Files, change: Callable[[Fields], object]) -> Files:
    """The same of the root; its signature stays as it is."""
    fields = json.loads(files.root)
    made = change(fields)
    return attrs.evolve(files, root=made if isinstance(made, bytes) else line(fields) + b"\n")


def signed(desk: Desk, fields: Fields) -> bytes:
    """A root with any fields and a right signature over them, by a key of the forger's."""
    unsigned = {k: v for k, v in fields.items() if k != "signature"}
    unsigned["public_key"] = desk.key.public_key.hex()
    return line(unsigned | {"signature": desk.key.sign(line(unsigned)).hex()})


def signed_text(desk: Desk, text: str) -> bytes:
    """The same of a text that no JSON writer writes; it ends before the signature."""
    return f'{text},"signature":"{desk.key.sign(text.encode() + b"}").hex()}"}}'.encode()


def unsigned(fields: Fields) -> bytes:
    return line({k: v for k, v in fields.items() if k not in ("public_key", "signature")})


def event(**changed: object) -> Callable[[Fields], object]:
    return lambda fields: fields["event"].update(changed)


def fields(**changed: object) -> Callable[[Fields], object]:
    return lambda fields: fields.update(changed)


def as_event(name: str, form: Callable[[Any], object]) -> Callable[[Fields], object]:
    """A field of the event in another form."""
    return lambda fields: fields["event"].update({name: form(fields["event"][name])})


def text(old: str, new: str) -> Callable[[Fields], object]:
    def change(fields: Fields) -> bytes:
        before = pretty(fields).decode()
        assert old in before
        return before.replace(old, new, 1).encode()

    return change


def root_text(old: str, new: str) -> Callable[[Fields], object]:
    def change(fields: Fields) -> bytes:
        before = line(fields).decode()
        assert old in before
        return before.replace(old, new, 1).encode()

    return change


OF_PROOFS: Final[dict[str, Callable[[Fields], object]]] = {
    "an invented field": fields(approved_by="the bank"),
    "a missing field": lambda it: it.pop("version"),
    "another version": fields(version=2),
    "a version that is true": fields(version=True),
    "a version that is a float": fields(version=1.0),
    "a version that is text": fields(version="1"),
    "a type in capitals": lambda it: it.update(type=it["type"].upper()),
    "a type that is a list": lambda it: it.update(type=[it["type"]]),
    "a position that is true": fields(position=True),
    "a position that is a float": lambda it: it.update(position=float(it["position"])),
    "a position that is text": lambda it: it.update(position=str(it["position"])),
    "a position that is huge": fields(position=2**64),
    "a position of 5,000 digits": text('"position": 32', '"position": ' + "9" * 5_000),
    "a position below zero": fields(position=-1),
    "no position": fields(position=None),
    "the tree of another count": lambda it: it.update(position=it["position"] + 1),
    "the tree of one event fewer": lambda it: it.update(position=it["position"] - 1),
    "a ledger in capitals": lambda it: it.update(ledger=it["ledger"].upper() + " "),
    "a root that is not a hash": fields(root="00"),
    "another root": fields(root="ab" * 32),
    "not a number": text('"version": 1', '"version": NaN'),
    "infinity": text('"version": 1', '"version": Infinity'),
    "not a number besides": text('"version": 1', '"version": 1, "x": NaN'),
    "two versions": text('"version": 1', '"version": 2, "version": 1'),
    "two equal versions": text('"version": 1', '"version": 1, "version": 1'),
    "two positions": text('"position": 32', '"position": 31, "position": 32'),
    "a byte order mark": lambda it: b"\xef\xbb\xbf" + pretty(it),
    "UTF-16": lambda it: pretty(it).decode().encode("utf-16"),
    "UTF-32 without a mark": lambda it: pretty(it).decode().encode("utf-32-le"),
    "bytes that are not UTF-8": lambda it: pretty(it)[:-1] + b',"\xff":1}',
    "something behind it": lambda it: pretty(it) + b"x",
    "the same once more": lambda it: pretty(it) * 2,
    "a zero byte behind it": lambda it: pretty(it) + b"\0",
    "nothing": lambda _: b"",
    "null": lambda _: b"null",
    "a list": lambda it: pretty([it]),
    "text": lambda it: pretty(json.dumps(it)),
    "deep nesting": lambda _: b"[" * 60_000,
    "deep nesting in a field": text('"version": 1', '"version": ' + "[" * 900 + "]" * 900),
    "more than a proof can have": lambda it: pretty(it) + b" " * 65_536,
    "a comment": text('"version": 1', '/* */ "version": 1'),
    "a comma at the end": lambda it: pretty(it).rstrip(b"}\n") + b",}",
}  # fmt: skip
"""Changes of any proof."""

OF_PATHS: Final[dict[str, Callable[[Fields], object]]] = {
    "a hash in capitals": lambda it: it.update(path=[it["path"][0].upper(), *it["path"][1:]]),
    "a hash cut short": lambda it: it.update(path=[it["path"][0][:-2], *it["path"][1:]]),
    "a path that is text": lambda it: it.update(path="".join(it["path"])),
    "a path that is an object": lambda it: it.update(path=dict.fromkeys(it["path"], 1)),
    "no path": fields(path=[]),
    "a path in a path": lambda it: it.update(path=[it["path"]]),
    "a path of numbers": fields(path=[1, 2]),
    "deep nesting in the path": fields(path=json.loads("[" * 400 + "]" * 400)),
}  # fmt: skip

OF_EVENTS: Final[dict[str, Callable[[Fields], object]]] = {
    "no entry": lambda it: it.pop("entry"),
    "an entry that is not text": fields(entry=5),
    "an entry in capitals": lambda it: it.update(entry=it["entry"].upper()),
    "an entry with blanks": lambda it: it.update(entry=it["entry"] + " "),
    "half an entry": lambda it: it.update(entry=it["entry"][:-2]),
    "an empty entry": fields(entry=""),
    "an entry that is longer": lambda it: it.update(entry=it["entry"] + "00"),
    "an invented field of the event": event(approved_by="the bank"),
    "a missing field of the event": lambda it: it["event"].pop("code"),
    "two kinds": text('"kind": "transfer"', '"kind": "account", "kind": "transfer"'),
    "two amounts": text('"amount": ', '"amount": "1", "amount": '),
    "the kind in capitals": event(kind="Transfer"),
    "another kind": event(kind="account"),
    "the event's position as text": as_event("position", str),
    "the event's position as a float": as_event("position", float),
    "a timeout that is false": event(timeout=False),
    "a code that is true": event(code=True),
    "a ledger that is a float": event(ledger=1.0),
    "an amount that is a number": as_event("amount", int),
    "an amount with a zero in front": as_event("amount", lambda it: "0" + it),
    "an amount with a blank behind": as_event("amount", lambda it: it + " "),
    "another amount": as_event("amount", lambda it: it + "0"),
    "an amount in other digits": as_event("amount", lambda it: chr(0x660 + int(it[0])) + it[1:]),
    "flags that are a list": event(flags=[]),
    "an event that is a list": lambda it: it.update(event=[*it["event"].items()]),
    "an event that is null": fields(event=None),
    "deep nesting in the event": event(code=json.loads("[" * 400 + "]" * 400)),
}  # fmt: skip

STATUSES: Final[tuple[object, ...]] = (
    "Created", "created", "CREATED ", " CREATED", "CREATED\n", "CREATED\u200b", "CREATED", "",
    "\uff23REATED", "EXISTS", "CREDIT_ACCOUNT_NOT_FOUND", "Credit_Account_Not_Found",
    "CREDIT_ACCOUNT_NOT_FOUND ", "DEBIT_ACCOUNT_NOT_FOUND", 22, 2**32 - 1, None, True, [], {},
)  # fmt: skip

OF_ROOTS: Final[dict[str, Callable[[Fields], object]]] = {
    "a public key and no signature": lambda it: it.pop("signature"),
    "a signature and no public key": lambda it: it.pop("public_key"),
    "a signature that is null": fields(signature=None),
    "a signature that is empty": fields(signature=""),
    "a signature in capitals": lambda it: it.update(signature=it["signature"].upper()),
    "a signature cut short": lambda it: it.update(signature=it["signature"][:-2]),
    "a public key in capitals": lambda it: it.update(public_key=it["public_key"].upper()),
    "another public key": fields(public_key="0" * 64),
    "another time": fields(time="2020-01-01T00:00:00Z"),
    "another position": fields(position=31),
    "another ledger": fields(ledger="0" * 32),
    "another root": fields(root="0" * 64),
    "two positions": root_text('"position":32', '"position":31,"position":32'),
    "two equal positions": root_text('"position":32', '"position":32,"position":32'),
    "two signatures": root_text('"signature":', '"signature":"00","signature":'),
    "a blank in it": root_text('"position":32', '"position": 32'),
    "an escape in it": root_text('"time"', '"t\\u0069me"'),
    "a position that is a float": root_text('"position":32', '"position":32.0'),
    "a byte order mark": lambda it: b"\xef\xbb\xbf" + line(it),
    "UTF-16": lambda it: line(it).decode().encode("utf-16"),
    "a form feed behind it": lambda it: line(it) + b"\x0c",
    "something behind it": lambda it: line(it) + b"x",
    "the same once more": lambda it: line(it) * 2,
    "not a number": root_text('"version":1', '"version":NaN'),
    "nothing": lambda _: b"",
    "a list": lambda it: line([it]),
    "deep nesting": lambda _: b"[" * 4_000,
    "more than a root can have": lambda it: line(it) + b" " * 4_096,
}  # fmt: skip
"""Changes of a signed root."""

SIGNED: Final[dict[str, Callable[[Fields], Fields]]] = {
    "an invented field": lambda it: it | {"approved_by": "the bank"},
    "another version": lambda it: it | {"version": 2},
    "a version that is true": lambda it: it | {"version": True},
    "a version that is a float": lambda it: it | {"version": 1.0},
    "another type": lambda it: it | {"type": "Nostro-root"},
    "a position that is a float": lambda it: it | {"position": 32.0},
    "a position that is text": lambda it: it | {"position": "32"},
    "a position that is huge": lambda it: it | {"position": 2**70},
    "a position that is true": lambda it: it | {"position": True},
    "a ledger in capitals": lambda it: it | {"ledger": it["ledger"].upper() + " "},
    "no time": lambda it: {k: v for k, v in it.items() if k != "time"},
    "a time that is a number": lambda it: it | {"time": 5},
    "a time on a day that there is not": lambda it: it | {"time": "2026-02-30T12:00:00Z"},
    "a time in another form": lambda it: it | {"time": "2026-1-31T12:00:00Z"},
    "a time with blanks": lambda it: it | {"time": it["time"] + " "},
    "a second too many": lambda it: it | {"time": "2026-01-31T12:00:60Z"},
    "a time in other digits": lambda it: it | {"time": "\u0662026-01-31T12:00:00Z"},
    "the time of a word": lambda it: it | {"time": "now\nsigned by the bank"},
    "the year 999": lambda it: it | {"time": "0999-01-31T12:00:00Z"},
    "another order": lambda it: dict(sorted(it.items())),
    "null besides": lambda it: it | {"x": None},
}
"""Roots of these fields have a right signature, by some key."""


def check_refused(desk: Desk, files: Files) -> None:
    nostro, stranger = desk.verdicts(files)
    assert not nostro, "nostro accepts it"
    assert not stranger, "the stranger's verifier accepts it"


@pytest.mark.parametrize("name", ["created", "refused", "grown", "not_grown"])
def test_honest_files_are_accepted(desk: Desk, name: str) -> None:
    """By both, however a proof is laid out, signed or not."""
    files: Files = getattr(desk, name)
    fields, root = json.loads(files.proof), json.loads(files.root)
    for good_one in (
        files,
        attrs.evolve(files, proof=line(fields)),
        attrs.evolve(files, proof=pretty(dict(sorted(fields.items()))) + b"\r\n\t "),
        attrs.evolve(files, proof=files.proof.replace(b'"type"', b'"t\\u0079pe"')),
        attrs.evolve(files, root=b"\n" + files.root.strip() + b"\r\n"),
        attrs.evolve(files, root=unsigned(root)),
        attrs.evolve(files, root=signed(desk, root)),
        attrs.evolve(files, public_key=root["public_key"].upper()),
    ):
        assert desk.verdicts(good_one) == (True, True)


@pytest.mark.parametrize("change", OF_PROOFS.values(), ids=OF_PROOFS)
def test_a_forged_proof_is_refused(desk: Desk, change: Callable[[Fields], object]) -> None:
    """Of an event that took effect, of one that was refused, and of growth."""
    for files in (desk.created, desk.refused, desk.grown, desk.not_grown):
        check_refused(desk, with_proof(files, change))


@pytest.mark.parametrize("change", OF_PATHS.values(), ids=OF_PATHS)
def test_a_forged_path_is_refused(desk: Desk, change: Callable[[Fields], object]) -> None:
    """Of hashes in their one spelling, as many as the tree has levels."""
    for files in (desk.created, desk.refused, desk.grown):
        check_refused(desk, with_proof(files, change))


@pytest.mark.parametrize("change", OF_EVENTS.values(), ids=OF_EVENTS)
def test_a_forged_event_is_refused(desk: Desk, change: Callable[[Fields], object]) -> None:
    """What people read is what was hashed, to the type of each number."""
    for files in (desk.created, desk.refused):
        check_refused(desk, with_proof(files, change))


@pytest.mark.parametrize("status", STATUSES, ids=repr)
def test_only_the_status_itself_is_accepted(desk: Desk, status: object) -> None:
    """In its own letters: a refusal cannot be shown as a success, nor as another refusal."""
    for files in (desk.created, desk.refused):
        forged = with_proof(files, event(status=status))
        if json.loads(files.proof)["event"]["status"] == status:
            assert desk.verdicts(forged) == (True, True)
        else:
            check_refused(desk, forged)


@pytest.mark.parametrize("change", OF_ROOTS.values(), ids=OF_ROOTS)
def test_a_forged_root_is_refused(desk: Desk, change: Callable[[Fields], object]) -> None:
    """As the root of a proof, and as either root of one about growth."""
    check_refused(desk, with_root(desk.created, change))
    check_refused(desk, with_root(desk.grown, change))
    turned = with_root(desk.not_grown, change)
    check_refused(desk, attrs.evolve(desk.not_grown, older=turned.root))


@pytest.mark.parametrize("change", SIGNED.values(), ids=SIGNED)
def test_a_signature_does_not_make_a_root_right(
    desk: Desk, change: Callable[[Fields], Fields]
) -> None:
    """Whatever the fields are, any key can sign them."""
    root = signed(desk, change(json.loads(desk.created.root)))
    check_refused(desk, attrs.evolve(desk.created, root=root))


def test_a_signature_over_a_text_that_reads_in_two_ways_is_refused(desk: Desk) -> None:
    """Two positions, of which each reader would choose one."""
    whole = line(json.loads(unsigned(json.loads(desk.created.root)))).decode().rstrip("}")
    whole += f',"public_key":"{desk.key.public_key.hex()}"'
    files = attrs.evolve(desk.created, root=signed_text(desk, whole))
    assert desk.verdicts(files) == (True, True)
    for old, new in (
        ('"position":32', '"position":31,"position":32'),
        ('"position":32', '"position": 32'),
        ('"version":1', '"version":1,"version":1'),
        ('"time"', '"t\\u0069me"'),
    ):
        assert old in whole
        check_refused(desk, attrs.evolve(files, root=signed_text(desk, whole.replace(old, new))))


def test_a_signature_of_other_fields_is_refused(desk: Desk) -> None:
    """One of another root by the same key, or over the signature too."""
    root = json.loads(desk.created.root)
    other = json.loads(desk.newer)
    check_refused(
        desk, attrs.evolve(desk.created, root=line(root | {"signature": other["signature"]}))
    )
    over_all = desk.key.sign(line(root)).hex()
    check_refused(desk, attrs.evolve(desk.created, root=line(root | {"signature": over_all})))


def test_roots_and_proofs_that_do_not_belong_together_are_refused(desk: Desk) -> None:
    """Of another ledger, another count, the wrong way round, one too many or too few."""
    created, grown = desk.created, desk.grown
    for files in (
        attrs.evolve(created, root=desk.newer),
        attrs.evolve(created, root=desk.foreign),
        attrs.evolve(created, older=created.root),
        attrs.evolve(created, proof=grown.proof),
        attrs.evolve(created, proof=created.root),
        attrs.evolve(created, root=created.proof),
        attrs.evolve(grown, older=None),
        attrs.evolve(grown, root=grown.older or b"", older=grown.root),
        attrs.evolve(grown, older=grown.root),
        attrs.evolve(grown, root=desk.newer),
        attrs.evolve(grown, older=desk.foreign),
        attrs.evolve(grown, proof=created.proof),
        attrs.evolve(desk.not_grown, older=grown.older),
    ):
        check_refused(desk, files)


@pytest.mark.parametrize("name", ["created", "grown"])
def test_a_key_that_is_asked_for_must_have_signed_every_root(desk: Desk, name: str) -> None:
    """An unsigned root and one by another key are refused."""
    files: Files = getattr(desk, name)
    root = json.loads(files.root)
    asked = attrs.evolve(files, public_key=root["public_key"])
    assert desk.verdicts(asked) == (True, True)
    check_refused(desk, attrs.evolve(asked, root=unsigned(root)))
    check_refused(desk, attrs.evolve(asked, public_key="0" * 64))
    check_refused(desk, attrs.evolve(asked, public_key="0"))
    if files.older is not None:
        check_refused(desk, attrs.evolve(asked, older=unsigned(json.loads(files.older))))


def test_the_stranger_checks_transfers_only(desk: Desk) -> None:
    """It says so of a proof of an account, which nostro can check."""
    assert desk.verdicts(attrs.evolve(desk.created, proof=desk.of_account)) == (True, False)


def test_the_stranger_knows_every_status() -> None:
    """By the number that the entry holds."""
    source = VERIFIER.read_text()
    names = source.partition('REFUSALS = """')[2].partition('"""')[0].split()
    known = {number: name for number, name in enumerate(names, 1) if name != "-"}
    statuses = {int(one): one.name for one in CreateTransferStatus}
    assert statuses.pop(2**32 - 1) == "CREATED"
    assert known == statuses


# --- generated ------------------------------------------------------------------------------------

SCALARS: Final = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 40), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["CREATED", "transfer", "nostro-root", "nostro-inclusion", "0" * 64, [], {}]),
)  # fmt: skip


def near(value: Any) -> list[object]:  # noqa: ANN401 - a JSON value
    """Values that a careless reader takes for this one."""
    match value:
        case bool() | None:
            return [int(bool(value)), str(value)]
        case int():
            return [value + 1, value - 1, float(value), str(value), bool(value), -value, [value]]
        case str():
            return [
                value.upper(), value.lower(), value.capitalize(), value + " ", " " + value,
                value + "\n", value + "\0", value[:-1], value[::-1], value + value[-1:],
                int(value) if value.isdecimal() else 0, [value], "0x" + value, value + "é",
            ]  # fmt: skip
        case list():
            return [value[::-1], value[1:], value + value[-1:], tuple(value), {}, "".join(value)]
        case _:
            return [[value], [*value.items()], None]


def places(value: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every value inside a JSON value."""
    children: list[tuple[Any, object]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [at, *[place for key, one in children for place in places(one, (*at, key))]]


def changed(data: st.DataObject, whole: Any) -> object:  # noqa: ANN401 - a JSON value
    """The JSON value with one value in it replaced, removed or added."""
    *way, last = data.draw(st.sampled_from(places(whole)[1:]))
    holder = whole
    for key in way:
        holder = holder[key]
    match data.draw(st.sampled_from(["near", "near", "any", "remove", "add"])):
        case "near":
            holder[last] = data.draw(st.sampled_from(near(holder[last])))
        case "any":
            holder[last] = data.draw(SCALARS)
        case "remove":
            del holder[last]
        case _ if isinstance(holder, dict):
            holder[data.draw(st.text(max_size=5))] = data.draw(SCALARS)
        case _:
            holder.append(data.draw(SCALARS))
    return whole


def changed_bytes(data: st.DataObject, whole: bytes) -> bytes:
    at = data.draw(st.integers(0, len(whole)))
    some = data.draw(st.binary(max_size=3) | st.sampled_from([b" ", b"\n", b",", b"}", b"0", b'"']))
    return whole[:at] + some + whole[at + data.draw(st.integers(0, 3)) :]


@given(data=st.data())
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_both_agree_on_whatever_is_changed(desk: Desk, data: st.DataObject) -> None:
    """One value or some bytes of one file; what is accepted says what the honest files say."""
    honest: Files = data.draw(
        st.sampled_from([desk.created, desk.refused, desk.grown, desk.not_grown])
    )
    parts = ["proof", "root"] if honest.older is None else ["proof", "root", "older"]
    part = data.draw(st.sampled_from(parts))
    before: bytes = getattr(honest, part)
    if data.draw(st.booleans()):
        after = changed_bytes(data, before)
    else:
        value = changed(data, json.loads(before))
        if part == "proof":
            after = pretty(value)
        else:
            assert isinstance(value, dict)
            after = signed(desk, value) if data.draw(st.booleans()) else line(value)
    files = attrs.evolve(honest, **{part: after})  # type: ignore[arg-type]
    nostro, stranger = desk.verdicts(files)
    assert nostro == stranger, after
    if nostro and part == "proof":
        assert json.dumps(json.loads(after), sort_keys=True) == json.dumps(
            json.loads(before), sort_keys=True
        )
    elif nostro:
        one, other = json.loads(after), json.loads(before)
        for name in ("type", "version", "ledger", "position", "root"):
            assert (one[name], type(one[name])) == (other[name], type(other[name]))
