"""Roots kept elsewhere: what the forger of a journal cannot hide, and what a stranger can check."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from nostro import Account, Ledger, Root, Transfer, TransferFlags, journal
from nostro.journal.format import container
from nostro.journal.model import Rows
from tests.documents import ROOT
from tests.integration.test_cli import good, run
from tests.journals import files_under, flip
from tests.rewriting import rewrite

VERIFIER: Final = ROOT / "docs" / "guides" / "verify_proof.py"
REFUSED_ID: Final = 50


def told(*args: object) -> dict[str, object]:
    shown: dict[str, object] = json.loads(good(*args, "--json"))
    return shown


def post(path: Path, first: int, count: int) -> None:
    with Ledger.open(path, segment_bytes_max=4096) as ledger:
        ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
        for number in range(first, first + count):
            ledger.create_transfers(
                [Transfer(id=number, debit_account_id=1, credit_account_id=2, amount=number,
                          ledger=1, code=1, user_data_128=2**127 + number)]
            )  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with a ledger of 33 events, a key, and a signed root of 32 of them."""
    post(tmp_path / "books", 1, 29)
    with Ledger.open(tmp_path / "books") as ledger:
        ledger.create_transfers(
            [Transfer(id=REFUSED_ID, debit_account_id=1, credit_account_id=99, amount=1, ledger=1,
                      code=1, flags=TransferFlags.NONE)]
        )  # fmt: skip
    good("key", "new", tmp_path / "key")
    good("root", tmp_path / "books", "--key", tmp_path / "key", "--out", tmp_path / "root")
    post(tmp_path / "books", 60, 1)
    return tmp_path


def public_key(desk: Path) -> str:
    return str(told("key", "public", desk / "key")["public_key"])


def is_sound(path: Path) -> bool:
    """Whether plain verification finds nothing, and the ledger opens."""
    with Ledger.open(path):
        return run("verify", path).exit_code == 0


def refused(code: int, reason: str, *args: object) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("nostro: ")
    assert reason in result.stderr
    assert "\nhint: " in result.stderr


# --- the journal against the root -----------------------------------------------------------------


def test_an_honest_journal_holds_what_was_signed(desk: Path) -> None:
    """It may have grown; the answer names who signed; nothing is changed by asking."""
    before = files_under(desk)
    text = good("verify", desk / "books", "--root", desk / "root", "--public-key", public_key(desk))
    assert "The first 32 events are those of the root." in text
    assert public_key(desk) in text
    shown = told("verify", desk / "books", "--root", desk / "root")
    assert shown["sound"] is True
    assert shown["root"] == json.loads((desk / "root").read_text())
    assert files_under(desk) == before


def unchanged(rows: Rows) -> None:
    del rows


def one_more(rows: Rows) -> None:
    rows["amount"][rows["id"][:, 0] == 17, 0] += 1


def test_rewritten_history_that_verifies_is_found_out(desk: Path) -> None:
    """One amount is changed and everything chained anew: only the root shows it."""
    rewrite(desk / "books", one_more)
    assert is_sound(desk / "books")
    with Ledger.open(desk / "books") as ledger:
        assert [one.amount for one in ledger.lookup_transfers([17])] == [18]
    refused(3, "history was rewritten", "verify", desk / "books", "--root", desk / "root")
    refused(3, "history was rewritten", "prove", desk / "books", "17", "--root", desk / "root")
    refused(3, "history was rewritten", "prove", desk / "books", "--from", desk / "root")
    result = run("verify", desk / "books", "--root", desk / "root", "--json")
    assert result.exit_code == 3
    shown = json.loads(result.stdout)
    assert (shown["sound"], shown["kind"]) == (False, "RootDiffers")


@pytest.mark.parametrize("options", [(), ("--quick",), ("--decode",)])
def test_without_a_root_verify_claims_no_more_than_it_checked(
    desk: Path, options: tuple[str, ...]
) -> None:
    """Of a rewritten history it says that it fits together, and what finds a rewriting."""
    rewrite(desk / "books", one_more)
    text = good("verify", desk / "books", *options)
    assert text.startswith("Sound: the journal is consistent with itself.\n")
    assert "A rewritten history can be, too" in text
    assert "nostro verify DIR --root FILE" in text
    shown = told("verify", desk / "books", *options)
    assert (shown["sound"], shown["compared_with_root"]) == (True, False)


def test_with_a_root_verify_says_which_events_it_vouches_for(desk: Path) -> None:
    """Events behind the root may be rewritten, and the answer says how many there are."""
    rewrite(desk / "books", lambda rows: rows["code"].__setitem__(rows["id"][:, 0] == 60, 9))
    text = good("verify", desk / "books", "--root", desk / "root")
    assert "The first 32 events are those of the root." in text
    assert "The root does not cover the 1 event after them." in text
    assert "A rewritten history" not in text
    assert told("verify", desk / "books", "--root", desk / "root")["compared_with_root"] is True
    good("root", desk / "books", "--out", desk / "whole")
    assert "does not cover" not in good("verify", desk / "books", "--root", desk / "whole")


def test_the_audit_claims_no_more_than_it_checked(desk: Path) -> None:
    """It compares what is derived with the journal, and takes the journal as it is."""
    rewrite(desk / "books", one_more)
    text = good("replay", desk / "books", "--check")
    assert "The audit passed: everything kept is consistent with the journal." in text
    assert "nostro verify DIR --root FILE" in text


@pytest.mark.parametrize("command", ["verify", "replay"])
def test_no_help_claims_that_events_are_what_was_written(command: str) -> None:
    """Only a root kept elsewhere can show that."""
    text = " ".join(good(command, "--help").split())
    assert "what was written" not in text
    assert "--root" in text
    assert "consistent with" in text


def test_a_journal_chained_anew_unchanged_is_the_same_history(desk: Path) -> None:
    """The forger of the tests changes nothing but what it is told to, and the root stays."""
    before = told("root", desk / "books")["root"]
    rewrite(desk / "books", unchanged)
    assert is_sound(desk / "books")
    assert told("root", desk / "books")["root"] == before
    good("verify", desk / "books", "--root", desk / "root")


def test_history_cut_off_at_a_frame_is_found_out(desk: Path) -> None:
    """The end is gone, and HEAD says that it never was."""
    rewrite(desk / "books", unchanged, last=31)
    assert is_sound(desk / "books")
    refused(3, "the root covers 32 events, but the journal has 31",
            "verify", desk / "books", "--root", desk / "root")  # fmt: skip
    result = run("verify", desk / "books", "--root", desk / "root", "--json")
    assert json.loads(result.stdout)["kind"] == "RootBeyondEnd"
    refused(3, "history was cut off", "prove", desk / "books", "17", "--root", desk / "root")
    post(desk / "books", 100, 5)  # and goes on with something else
    refused(3, "history was rewritten", "verify", desk / "books", "--root", desk / "root")


def test_what_is_kept_of_the_tree_does_not_hide_a_rewriting(tmp_path: Path) -> None:
    """Of the old history it is not used for the new one; a root takes the events as they are."""
    with Ledger.open(tmp_path / "books") as ledger:
        ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
        ledger.create_transfers(
            [Transfer(id=number, debit_account_id=1, credit_account_id=2, amount=1, ledger=1,
                      code=1) for number in range(1, 5001)]
        )  # fmt: skip
    good("root", tmp_path / "books", "--out", tmp_path / "root")
    assert (tmp_path / "books" / "tree" / "subtrees").is_file()
    rewrite(tmp_path / "books", one_more)
    assert (tmp_path / "books" / "tree" / "subtrees").is_file()
    taken = told("root", tmp_path / "books")["root"]
    assert taken != json.loads((tmp_path / "root").read_text())["root"]
    assert taken == journal.EventTree(tmp_path / "books", use_kept=False).root().hex()
    assert taken == told("root", tmp_path / "books", "--fresh")["root"]
    refused(3, "history was rewritten", "verify", tmp_path / "books", "--root", tmp_path / "root")


def test_a_forged_tree_convinces_nobody(tmp_path: Path) -> None:
    """What is kept may be made to fit anything; verification and --fresh do not look at it."""
    with Ledger.open(tmp_path / "books") as ledger:
        ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in range(1, 5001)])
    good("root", tmp_path / "books", "--out", tmp_path / "root")
    file = tmp_path / "books" / "tree" / "subtrees"
    body = container.unpack(file.read_bytes(), file_type="tree")
    file.write_bytes(container.pack(body | {"subtrees": bytes(32)}))
    good("verify", tmp_path / "books", "--root", tmp_path / "root")
    honest = json.loads((tmp_path / "root").read_text())["root"]
    assert told("root", tmp_path / "books", "--fresh")["root"] == honest
    assert told("root", tmp_path / "books")["root"] != honest
    good("root", tmp_path / "books", "--out", tmp_path / "false")
    refused(3, "history was rewritten", "verify", tmp_path / "books", "--root", tmp_path / "false")


def test_a_damaged_journal_is_damaged_first(desk: Path) -> None:
    """With a root or without, file and byte are named."""
    segment = min((desk / "books" / "segments").iterdir())
    flip(segment, -20)
    refused(3, f"{segment}: damaged at byte", "verify", desk / "books", "--root", desk / "root")


# --- roots and keys that are not what they should be ----------------------------------------------


def test_the_root_of_another_ledger_is_refused(desk: Path) -> None:
    """Even one with the same events."""
    post(desk / "other", 1, 40)
    for args in (["verify"], ["prove"]):
        place = [desk / "other", *(["17"] if args == ["prove"] else [])]
        refused(2, "this belongs to ledger ", *args, *place, "--root", desk / "root")
    refused(2, "this belongs to ledger ", "prove", desk / "other", "--from", desk / "root")


def test_a_root_that_was_altered_is_refused(desk: Path) -> None:
    """Its signature tells; and another key than the one asked for is another key."""
    root = Root.decode((desk / "root").read_bytes())
    text = (desk / "root").read_text()
    (desk / "altered").write_text(text.replace('"position":32', '"position":31'))
    refused(1, "its signature is wrong", "verify", desk / "books", "--root", desk / "altered")
    refused(1, "signed by another key", "verify", desk / "books", "--root", desk / "root",
            "--public-key", "0" * 64)  # fmt: skip
    (desk / "unsigned").write_bytes(Root.take(root.ledger_id, 32, root.root).encode())
    refused(1, "it is not signed", "verify", desk / "books", "--root", desk / "unsigned",
            "--public-key", public_key(desk))  # fmt: skip
    good("verify", desk / "books", "--root", desk / "unsigned")
    (desk / "half").write_text(text.split(',"signature"')[0] + "}\n")
    refused(1, "it is not signed", "verify", desk / "books", "--root", desk / "half")
    (desk / "empty").write_text("{}")
    refused(2, "not a root file", "verify", desk / "books", "--root", desk / "empty")
    refused(1, "No such file", "verify", desk / "books", "--root", desk / "nowhere")
    refused(2, "64 hexadecimal digits", "verify", desk / "books", "--root", desk / "root",
            "--public-key", "zz")  # fmt: skip
    refused(2, "needs --root", "verify", desk / "books", "--public-key", "0" * 64)


def test_keys_are_kept_apart_and_private(desk: Path) -> None:
    """Made once, outside the ledger, for its owner alone; else nothing is signed or written."""
    before = files_under(desk)
    refused(2, "not overwritten", "key", "new", desk / "key")
    refused(2, "inside a ledger", "key", "new", desk / "books" / "key")
    (desk / "key").chmod(0o640)
    out = desk / "other"
    refused(2, "mode is 0640", "root", desk / "books", "--key", desk / "key", "--out", out)
    refused(2, "mode is 0640", "key", "public", desk / "key")
    assert files_under(desk) == before


def test_evidence_is_not_overwritten(desk: Path) -> None:
    """A root or a proof that is there stays."""
    before = files_under(desk)
    refused(2, "not overwritten", "root", desk / "books", "--out", desk / "root")
    refused(2, "not overwritten", "prove", desk / "books", "17", "--out", desk / "root")
    assert files_under(desk) == before


def test_the_root_at_a_position_is_the_root_of_then(desk: Path) -> None:
    """Signed later, it is the same root; none lies beyond the end."""
    then = json.loads((desk / "root").read_text())
    now = told("root", desk / "books", "--at", 32)
    assert now["root"] == then["root"] != told("root", desk / "books")["root"]
    assert told("root", desk / "books")["position"] == 33
    assert str(then["root"]) in good("root", desk / "books", "--at", 32)
    refused(2, "position 34 is outside", "root", desk / "books", "--at", 34)


# --- proofs ---------------------------------------------------------------------------------------


def stranger(*args: object, packages: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the verifier as somebody who has only Python, and ``cryptography`` with ``packages``."""
    program = (
        "import runpy, sys;"
        "sys.modules.update(dict.fromkeys(('journal', 'projections', 'tools', 'numpy')));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", *([] if packages else ["-S"]), "-c", program, str(VERIFIER),
         *map(str, args)],
        capture_output=True, text=True, check=False, cwd="/", env={},
    )  # fmt: skip


@pytest.mark.parametrize("id_", [1, 17, 29, REFUSED_ID])
def test_a_stranger_checks_a_transfer(desk: Path, id_: int) -> None:
    """With the proof, the signed root and a program that knows nothing of nostro."""
    good("prove", desk / "books", id_, "--root", desk / "root", "--out", desk / "proof")
    checked = stranger(desk / "proof", desk / "root")
    assert checked.returncode == 0, checked.stderr
    assert f'"id": "{id_}"' in checked.stdout
    assert f"signed by {public_key(desk)}" in checked.stdout
    proof = journal.decode_proof((desk / "proof").read_bytes())
    assert isinstance(proof, journal.InclusionProof)
    proof.check(Root.decode((desk / "root").read_bytes()))
    status = "CREATED" if id_ != REFUSED_ID else "CREDIT_ACCOUNT_NOT_FOUND"
    assert proof.shown()["event"]["status"] == status


def test_a_stranger_checks_that_history_only_grew(desk: Path) -> None:
    """Between every two roots."""
    good("root", desk / "books", "--out", desk / "newer")
    for old in range(1, 33):
        for name in ("older", "grown"):
            (desk / name).unlink(missing_ok=True)
        good("root", desk / "books", "--at", old, "--out", desk / "older")
        good("prove", desk / "books", "--from", desk / "older", "--out", desk / "grown")
        proof = journal.decode_proof((desk / "grown").read_bytes())
        assert isinstance(proof, journal.ConsistencyProof)
        proof.check(*(Root.decode((desk / name).read_bytes()) for name in ("older", "newer")))
        if old in {1, 13, 16, 32}:
            checked = stranger(desk / "grown", desk / "newer", desk / "older")
            assert checked.returncode == 0, checked.stderr
            assert f"The first {old} events" in checked.stdout
            assert stranger(desk / "grown", desk / "older", desk / "newer").returncode == 1


def test_a_stranger_needs_no_package_where_nothing_is_signed(desk: Path) -> None:
    """Python's own library is enough, and for a signature it is not."""
    good("root", desk / "books", "--at", 32, "--out", desk / "unsigned")
    good("prove", desk / "books", 17, "--root", desk / "root", "--out", desk / "proof")
    checked = stranger(desk / "proof", desk / "unsigned", packages=False)
    assert checked.returncode == 0, checked.stderr
    assert "signed by nobody" in checked.stdout
    unable = stranger(desk / "proof", desk / "root", packages=False)
    assert unable.returncode == 1
    assert "No module named 'cryptography'" in unable.stderr


def test_the_verifier_is_short_enough_to_be_read() -> None:
    """At most 175 lines that are not empty."""
    assert len(list(filter(str.strip, VERIFIER.read_text().splitlines()))) <= 175


def test_a_stranger_refuses_whatever_is_changed(desk: Path) -> None:
    """A field, the entry, the path, the position, the root, its signature; one digit each."""
    good("prove", desk / "books", 17, "--root", desk / "root", "--out", desk / "proof")
    good("prove", desk / "books", "--from", desk / "root", "--out", desk / "grown")
    good("root", desk / "books", "--out", desk / "newer")
    proof, root = (json.loads((desk / name).read_text()) for name in ("proof", "root"))
    for part in (
        {"entry": digit(proof["entry"], 3)},
        {"entry": digit(proof["entry"], 40)},
        {"path": [digit(proof["path"][0], 9), *proof["path"][1:]]},
        {"path": proof["path"][1:]},
        {"path": [*proof["path"], proof["path"][0]]},
        {"position": 31},
        {"ledger": digit(proof["ledger"], 0)},
        {"type": "nostro-other"},
        *({"event": proof["event"] | {name: "18"}} for name in proof["event"]),
    ):
        (desk / "changed").write_text(json.dumps(proof | part))
        assert stranger(desk / "changed", desk / "root").returncode == 1, part
    for part in ({"signature": digit(root["signature"], 5)}, {"time": "2020-01-01T00:00:00Z"},
                 {"root": digit(root["root"], 5)}, {"ledger": "0" * 32}, {"position": 33},
                 {"type": "other"}):  # fmt: skip
        (desk / "changed").write_text(json.dumps(root | part, separators=(",", ":")))
        assert stranger(desk / "proof", desk / "changed").returncode == 1, part
        assert stranger(desk / "grown", desk / "newer", desk / "changed").returncode == 1, part


def digit(text: str, at: int) -> str:
    return text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :]


def test_what_cannot_be_proven_is_said(desk: Path) -> None:
    """No such transfer, one after the root, an older root that is newer, nothing to prove."""
    refused(1, "no transfer 4711", "prove", desk / "books", 4711)
    refused(1, "the transfer is at position 33, and the root ends at 32",
            "prove", desk / "books", 60, "--root", desk / "root")  # fmt: skip
    good("root", desk / "books", "--out", desk / "newer")
    refused(1, "the older root is at position 33",
            "prove", desk / "books", "--from", desk / "newer", "--root", desk / "root")  # fmt: skip
    refused(2, "give either", "prove", desk / "books")
    refused(2, "give either", "prove", desk / "books", 17, "--from", desk / "root")
    good("root", desk / "books", "--at", 0, "--out", desk / "empty")
    good("verify", desk / "books", "--root", desk / "empty")
    refused(2, "position 0 is outside", "prove", desk / "books", "--from", desk / "empty")


def test_a_proof_is_checked_without_the_ledger(desk: Path) -> None:
    """By whoever has the files and the key that signed; as text and as JSON."""
    good("prove", desk / "books", 17, "--root", desk / "root", "--out", desk / "proof")
    good("prove", desk / "books", "--from", desk / "root", "--out", desk / "grown")
    good("root", desk / "books", "--key", desk / "key", "--out", desk / "newer")
    shutil.rmtree(desk / "books")
    key = ("--public-key", public_key(desk))
    text = good("verify-proof", desk / "proof", desk / "root", *key)
    assert "The root covers event 19:" in text
    assert re.search(r"^ *amount +17$", text, re.MULTILINE)
    assert public_key(desk) in text
    shown = told("verify-proof", desk / "proof", desk / "root")
    assert shown["holds"] is True
    assert shown["proof"] == json.loads((desk / "proof").read_text())
    text = good("verify-proof", desk / "grown", desk / "newer", "--from", desk / "root", *key)
    assert "The first 32 events are those of the older root." in text


def test_a_proof_that_does_not_hold_is_refused(desk: Path) -> None:
    """Of something else, for another root, of another ledger, altered, or by another key."""
    good("prove", desk / "books", 17, "--root", desk / "root", "--out", desk / "proof")
    good("prove", desk / "books", "--from", desk / "root", "--out", desk / "grown")
    good("root", desk / "books", "--out", desk / "newer")
    post(desk / "other", 1, 40)
    good("root", desk / "other", "--at", 32, "--out", desk / "foreign")
    check = "verify-proof"
    refused(1, "it is not for the root at position 33", check, desk / "proof", desk / "newer")
    refused(2, "this belongs to ledger ", check, desk / "proof", desk / "foreign")
    refused(1, "signed by another key", check, desk / "proof", desk / "root",
            "--public-key", "0" * 64)  # fmt: skip
    refused(1, "it is not signed", check, desk / "grown", desk / "newer", "--from", desk / "root",
            "--public-key", public_key(desk))  # fmt: skip
    refused(1, "it is not for the root", check, desk / "grown", desk / "root",
            "--from", desk / "newer")  # fmt: skip
    refused(2, "leave out --from", check, desk / "proof", desk / "root", "--from", desk / "root")
    refused(2, "name the older one", check, desk / "grown", desk / "newer")
    refused(2, "is not JSON", check, desk / "key", desk / "root")
    proof = json.loads((desk / "proof").read_text())
    proof["path"][0] = digit(proof["path"][0], 9)
    (desk / "changed").write_text(json.dumps(proof))
    refused(1, "does not hold", check, desk / "changed", desk / "root")
    proof["event"]["amount"] = "18"
    (desk / "changed").write_text(json.dumps(proof))
    refused(2, f"{desk / 'changed'}: its fields do not say", check, desk / "changed", desk / "root")


def test_proofs_are_shown_and_written(desk: Path) -> None:
    """As text, as JSON, as a file; beside a writer, too."""
    with Ledger.open(desk / "books"):
        assert "The root covers event 19." in good("prove", desk / "books", 17)
        shown = told("prove", desk / "books", 17, "--out", desk / "proof")
    assert json.loads((desk / "proof").read_text()) == shown
    assert shown["position"] == 33
    assert "The first 32 events" in good("prove", desk / "books", "--from", desk / "root")
