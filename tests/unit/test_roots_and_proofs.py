"""Root files, proof files and keys: what is written is read, and nothing else is."""

from __future__ import annotations

import contextlib
import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import (
    AlreadyThere,
    BadSignature,
    ForeignRoot,
    InvalidEvidence,
    InvalidKey,
    InvalidProof,
    KeyBesideLedger,
    KeyExposed,
    SigningUnavailable,
)
from nostro.journal.evidence import signing
from nostro.journal.evidence.proofs import ConsistencyProof, InclusionProof, Proof, decode_proof
from nostro.journal.evidence.root import Root
from nostro.journal.evidence.signing import new_key, read_key
from nostro.journal.evidence.tree import EventTree
from tests.journals import write_journal
from tests.storages import CHANGES, ObservedStorage, Operation

ROOT = Root(bytes(range(16)), 7, bytes(range(32)), datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC))


@attrs.frozen
class Signed:
    """A journal's roots at two positions, and proofs for the newer one."""

    old: Root
    root: Root
    inclusion: InclusionProof
    consistency: ConsistencyProof


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("signed")
    write_journal(folder / "ledger", 21)
    key = new_key(folder / "key")
    tree = EventTree(folder / "ledger")
    roots = [Root.take(tree.ledger_id, at, tree.root(at)).sign(key) for at in (13, 21)]
    return Signed(roots[0], roots[1], tree.prove_inclusion(9), tree.prove_consistency(13))


# --- roots ----------------------------------------------------------------------------------------


def test_a_root_file_is_one_line_with_fixed_fields() -> None:
    """Byte for byte what the format says."""
    assert ROOT.encode() == (
        b'{"type":"nostro-root","version":1,"ledger":"000102030405060708090a0b0c0d0e0f",'
        b'"position":7,"root":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",'
        b'"time":"2026-01-31T12:00:00Z"}\n'
    )
    assert Root.decode(ROOT.encode()) == ROOT
    assert Root.decode(ROOT.encode().strip() + b"\r\n") == ROOT


def test_a_signed_root_is_read_and_its_signature_holds(signed: Signed) -> None:
    """By the key that it names, and by that key when it is asked for."""
    root = Root.decode(signed.root.encode())
    assert root == signed.root
    root.check_signature()
    root.check_signature(root.public_key)
    assert list(root.shown()) == [
        "type", "version", "ledger", "position", "root", "time", "public_key", "signature",
    ]  # fmt: skip


def test_the_signature_is_that_of_the_standard() -> None:
    """The key and message of RFC 8032, 7.1, test 3, and a root by the same key."""
    public = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
    signature = bytes.fromhex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    signing.check(public, signature, bytes.fromhex("af82"))
    with pytest.raises(BadSignature):
        signing.check(public, signature, bytes.fromhex("af83"))


def test_any_changed_byte_of_a_signed_root_is_refused(signed: Signed) -> None:
    """As no root file, or as badly signed; whatever the byte."""
    data = signed.root.encode().rstrip()
    for at in range(len(data)):
        for bit in (1, 2, 4):
            changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            with pytest.raises((InvalidEvidence, BadSignature)):
                Root.decode(changed).check_signature()


def test_a_root_of_another_key_or_of_none_is_not_trusted(signed: Signed, tmp_path: Path) -> None:
    """Asking for a key means that key."""
    other = new_key(tmp_path / "other")
    with pytest.raises(BadSignature, match="another key"):
        signed.root.check_signature(other.public_key)
    with pytest.raises(BadSignature, match="not signed"):
        ROOT.check_signature(other.public_key)
    with pytest.raises(BadSignature):
        attrs.evolve(signed.root, public_key=other.public_key).check_signature()


def edited(**fields: object) -> bytes:
    return json.dumps(ROOT.shown() | fields, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"type":"nostro-root"}', b"[" * 5000,
        b"[" * 1000, json.dumps(ROOT.shown()).encode(), ROOT.encode() + ROOT.encode(),
        ROOT.encode() + b" " * 5000, edited(version=2), edited(type="nostro"),
        edited(position=-1), edited(position=2**63), edited(position=True),
        edited(position="7"), edited(root="00"), edited(root=1),
        edited(root="0" * 63 + "A"), edited(ledger=None), edited(time="now"),
        edited(time="2026-1-31T12:00:00Z"), edited(time=5), edited(more=1),
        edited(signature="00"), edited(public_key="é" * 64),
    ],
)  # fmt: skip
def test_what_is_no_root_file_is_refused(data: bytes) -> None:
    """With one error, whatever is wrong."""
    with pytest.raises(InvalidEvidence):
        Root.decode(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_at_all_break_a_decoder(data: bytes) -> None:
    """A typed error, or a root or proof."""
    for decode in (Root.decode, decode_proof):
        with contextlib.suppress(InvalidEvidence):
            decode(data)


# --- proofs ---------------------------------------------------------------------------------------


def test_proofs_are_read_as_they_were_written(signed: Signed) -> None:
    """And hold for their roots, which need no ledger."""
    included, grown = (
        decode_proof(signed.inclusion.encode()),
        decode_proof(signed.consistency.encode()),
    )
    assert isinstance(included, InclusionProof)
    assert isinstance(grown, ConsistencyProof)
    assert (included, grown) == (signed.inclusion, signed.consistency)
    included.check(signed.root)
    grown.check(signed.old, signed.root)
    assert included.shown()["event"]["id"] == "9"


def check(proof: Proof, signed: Signed) -> None:
    if isinstance(proof, InclusionProof):
        proof.check(signed.root)
    else:
        proof.check(signed.old, signed.root)


@pytest.mark.parametrize("name", ["inclusion", "consistency"])
def test_any_changed_value_of_a_proof_is_refused(signed: Signed, name: str) -> None:
    """Each digit of each hash and number, each field that people read."""
    proof = getattr(signed, name)
    text = json.dumps(proof.shown())
    for at, digit in enumerate(text):
        if digit not in "0123456789abcdef":
            continue
        changed = text[:at] + ("1" if digit == "0" else "0") + text[at + 1 :]
        with pytest.raises((InvalidEvidence, InvalidProof, ForeignRoot)):
            check(decode_proof(changed.encode()), signed)


@pytest.mark.parametrize("name", ["inclusion", "consistency"])
def test_a_proof_for_another_root_is_refused(signed: Signed, name: str) -> None:
    """Of another ledger, position or hash."""
    proof = getattr(signed, name)
    foreign = attrs.evolve(signed.root, ledger_id=bytes(16))
    for root in (foreign, ROOT):
        with pytest.raises(ForeignRoot):
            check(proof, attrs.evolve(signed, root=root, old=root))
    for root in (signed.old, attrs.evolve(signed.root, root=bytes(32))):
        with pytest.raises(InvalidProof):
            check(proof, attrs.evolve(signed, root=root))


def test_an_entry_proves_its_own_position_only(signed: Signed) -> None:
    """A true path of another event does not carry it."""
    proof = signed.inclusion
    for position in (0, 1, 10, 22, 2**64 - 1):
        moved = attrs.evolve(proof, entry=position.to_bytes(8, "little") + proof.entry[8:])
        with pytest.raises(InvalidProof):
            moved.check(signed.root)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2}, {"type": "nostro-root"}, {"path": None}, {"path": [1]}, {"path": ["00"]},
        {"entry": ""}, {"entry": "zz"}, {"entry": "00" * 20_000}, {"entry": 5}, {"event": {}},
        {"position": "21"}, {"position": -1}, {"ledger": ""}, {"more": 1}, {"path": {}},
    ],
)  # fmt: skip
def test_what_is_no_proof_is_refused(signed: Signed, fields: dict[str, Any]) -> None:
    """With one error, whatever is wrong."""
    with pytest.raises(InvalidEvidence):
        decode_proof(json.dumps(signed.inclusion.shown() | fields).encode())


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_is_its_owners_alone_and_made_once(tmp_path: Path) -> None:
    """0600, whatever the umask; a second one does not overwrite the first."""
    made = new_key(tmp_path / "key")
    data = (tmp_path / "key").read_bytes()
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert data.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(AlreadyThere):
        new_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == data
    assert read_key(tmp_path / "key").public_key == made.public_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o620, 0o777])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    """Whatever they may do with it."""
    new_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyExposed, match=f"{mode:04o}"):
        read_key(tmp_path / "key")


@pytest.mark.parametrize(
    "place", ["ledger/key", "ledger/segments/key", "ledger/a/b/key", "link/key"]
)
def test_no_key_lies_in_a_ledger(tmp_path: Path, place: str) -> None:
    """Neither made there nor used from there, by whatever path."""
    write_journal(tmp_path / "ledger", 1)
    (tmp_path / "link").symlink_to("ledger/a/b")
    (tmp_path / "ledger/a/b").mkdir(parents=True)
    path = tmp_path / place
    with pytest.raises(KeyBesideLedger):
        new_key(path)
    assert not path.exists()
    new_key(tmp_path / "key")
    (tmp_path / "key").rename(path)
    with pytest.raises(KeyBesideLedger):
        read_key(path)


def pem(key: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no private key"),
        (b"\xff" * 100, "no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        (pem(x25519.X25519PrivateKey.generate()), "not of Ed25519"),
        (
            pem(ed25519.Ed25519PrivateKey.generate(), b"x"),
            "encrypted",
        ),
    ],
    ids=["empty", "noise", "no key inside", "another kind of key", "encrypted"],
)
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    """And said to be what it is."""
    (tmp_path / "key").write_bytes(data)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(InvalidKey, match=reason):
        read_key(tmp_path / "key")


def test_a_link_or_a_folder_is_no_key_file(tmp_path: Path) -> None:
    """What is opened is the file that was named."""
    new_key(tmp_path / "key")
    (tmp_path / "link").symlink_to("key")
    with pytest.raises(OSError, match="link"):
        read_key(tmp_path / "link")
    with pytest.raises(InvalidKey, match="must be a regular file"):
        read_key(tmp_path)


class _FullDisk(ObservedStorage):
    def before(self, operation: Operation) -> None:
        if operation.name in CHANGES - {"create_new", "unlink"}:
            raise OSError(28, "No space left on device", str(operation.path))


def test_a_key_that_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    """No half of a file stays."""
    with pytest.raises(OSError, match="No space"):
        new_key(tmp_path / "key", storage=_FullDisk())
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_only_signing_is_missing(
    tmp_path: Path, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roots and proofs are taken and checked; keys and signatures say what they need."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    signed.inclusion.check(signed.root)
    for needs in (lambda: new_key(tmp_path / "key"), signed.root.check_signature):
        with pytest.raises(SigningUnavailable, match=r"nostro\[sign\]"):
            needs()
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_stands_there_twice_is_refused(signed: Signed) -> None:
    """People would read the first, and what is checked would be the second."""
    text = signed.inclusion.encode()
    at = text.index(b'"amount": ')
    assert decode_proof(text) == signed.inclusion
    with pytest.raises(InvalidEvidence):
        decode_proof(text[:at] + b'"amount": "1",\n    ' + text[at:])


def test_a_key_that_openssl_stumbles_over_is_refused(tmp_path: Path) -> None:
    """Half a key of Ed448, which the package that reads keys calls an error of its own."""
    path = tmp_path / "key"
    content = b"MC4CAQAwBQYDK2VxBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" + content + b"\n-----END PRIVATE KEY-----\n")
    path.chmod(0o600)
    with pytest.raises(InvalidKey, match="no private key"):
        read_key(path)
