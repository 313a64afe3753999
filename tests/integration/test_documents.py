"""What the documents show is what happens: every example in them is run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nostro import (
    Account,
    AsyncClusterLedger,
    AsyncLedger,
    ClusterLedger,
    Ledger,
    Reader,
    Transfer,
    verify,
)
from nostro.dropin import ClientAsync, ClientSync
from nostro.tools.cli.application import application
from tests.documents import PACKAGE_PATH, ROOT, blocks, run_python


def commands_of(document: str) -> list[str]:
    """The command lines that the document shows, without the prompt."""
    return [
        line.removeprefix("$ ")
        for language, text in blocks(document)
        if language == "console"
        for line in text.splitlines()
        if line.startswith("$ ")
    ]


def test_the_readme_is_a_story_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's program prints what it says, crash included; then its commands work on it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", PACKAGE_PATH)
    printed = run_python("README.md", capsys)
    assert [text for text in printed if text] == [
        "CREATED CREATED\n",
        "EXCEEDS_CREDITS\n",
        "True\n",
        "10000\n",
    ]
    commands = [line for line in commands_of("README.md") if line.startswith("nostro ")]
    assert len(commands) >= 6
    for command in commands:
        arguments = shlex.split(command)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "nostro", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command


def test_the_projection_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worked example of a projection counts what was posted and resumes where it stopped."""
    monkeypatch.chdir(tmp_path)
    with Ledger.open("data") as ledger:
        ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
        for number in (1, 2, 3):
            ledger.create_transfers(
                [
                    Transfer(id=2 * number, debit_account_id=1, credit_account_id=2, amount=number,
                             ledger=1, code=1),
                    Transfer(id=2 * number + 1, debit_account_id=1, credit_account_id=99,
                             amount=100, ledger=1, code=1),
                ]
            )  # fmt: skip
    assert run_python("docs/guides/projections.md", capsys) == ["", "6\n", "True\n"]


def test_the_dropin_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program for TigerBeetle runs, and leaves a ledger where the guide says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOSTRO_DATA", raising=False)
    monkeypatch.delenv("TB_ADDRESS", raising=False)
    assert run_python("docs/guides/dropin.md", capsys) == ["", "CREATED 250\n"]
    with Ledger.open("nostro-0", create=False) as ledger:
        assert ledger.transfer_count == 1


def test_the_recipes_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a ledger; on a cluster they run in tests/differential."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))
    monkeypatch.delenv("TB_ADDRESS", raising=False)
    assert len(run_python("docs/guides/recipes.md", capsys)) == 6


def test_the_guide_to_lost_answers_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A payment without an answer is sent again, and paid once."""
    monkeypatch.chdir(tmp_path)
    [printed] = run_python("docs/guides/retries.md", capsys)
    assert printed.endswith("paid 100\n")


@pytest.mark.parametrize(
    "made", [Ledger, AsyncLedger, ClusterLedger, AsyncClusterLedger, ClientSync, ClientAsync]
)
@pytest.mark.parametrize("method", ["create_accounts", "create_transfers"])
def test_every_method_that_creates_says_what_to_do_without_an_answer(
    made: type, method: str
) -> None:
    """It names the guide."""
    assert "docs/guides/retries.md" in getattr(made, method).__doc__


def test_the_guide_to_asking_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every answer is the one that is shown."""
    monkeypatch.chdir(tmp_path)
    assert len(run_python("docs/guides/queries.md", capsys)) == 8


def test_the_guide_to_backups_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command in it, in its order, on a ledger of eight events and a damaged copy."""
    monkeypatch.chdir(tmp_path)
    with Ledger.open("books") as ledger:
        ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
        for number in range(10, 16):
            ledger.create_transfers(
                [Transfer(id=number, debit_account_id=1, credit_account_id=2, amount=1,
                          ledger=1, code=1)]
            )  # fmt: skip
        records = list(Reader("books").records())
    shutil.copytree("books", "damaged")
    content = bytearray(records[4].segment.read_bytes())
    content[records[4].offset_bytes + 20] ^= 1  # six events with it, three of them after
    Path("damaged", *records[4].segment.parts[1:]).write_bytes(content)
    lines = [line for _, text in blocks("docs/guides/backup.md") for line in text.splitlines()]
    commands = [shlex.split(line)[2:] for line in lines if line.startswith("$ nostro")]
    assert len(commands) == 11
    for command in commands:
        result = CliRunner().invoke(application, command)
        assert result.exit_code == 0, (command, result.output)
    for made in ("backup", "restored", "copied"):
        assert verify(made).position == 8
    for cut, position in (("as-it-was", 3), ("yesterday", 0), ("repaired", 5)):
        assert verify(cut).position == position + 1
    assert sorted(path.name for path in Path("tables").iterdir()) == [
        "accounts.csv", "events.csv", "transfers.csv",
    ]  # fmt: skip


def test_the_guide_to_changes_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every posting is told as the guide shows, and the answer carries the balances."""
    monkeypatch.chdir(tmp_path)
    assert len(run_python("docs/guides/changes.md", capsys)) == 4


def test_the_guide_to_tamper_evidence_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands, in order, with the public key that the first of them printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", PACKAGE_PATH)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "verify_proof.py").write_bytes((ROOT / "docs/guides/verify_proof.py").read_bytes())
    with Ledger.open("books") as ledger:
        ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
        ledger.create_transfers(
            [Transfer(id=number, debit_account_id=1, credit_account_id=2, amount=1, ledger=1,
                      code=1) for number in range(1, 30)]
        )  # fmt: skip
    printed: list[str] = []
    for command in commands_of("docs/guides/tamper-evidence.md"):
        if command.endswith("--out elsewhere/tuesday.root"):
            with Ledger.open("books") as ledger:
                ledger.create_accounts([Account(id=3, ledger=1, code=1)])
        program, *arguments = shlex.split(command)
        if "PUBLIC_KEY" in arguments:
            arguments[arguments.index("PUBLIC_KEY")] = printed[0].split()[-1]
        start = {"nostro": ["-m", "nostro"], "python": []}[program]
        done = subprocess.run(
            [sys.executable, *start, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        printed.append(done.stdout)
    assert "The first 31 events are those of the root." in printed[3]
    assert '"kind": "transfer"' in printed[5]
    assert "The first 31 events are those of the older root." in printed[-1]


@pytest.mark.parametrize(
    "document",
    ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))],
)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    """A link in the documents names a file that is there."""
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    missing = [
        link
        for link in links
        if "://" not in link and not ((ROOT / document).parent / link).exists()
    ]
    assert missing == []


def test_the_guide_to_clusters_begins_with_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program that is the same with a journal and with a cluster runs with a journal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOSTRO_BACKEND", raising=False)
    shown = list(blocks("docs/guides/tigerbeetle.md"))
    number = next(at for at, (_, text) in enumerate(shown) if "with open_ledger(" in text)
    exec(compile(shown[number][1], "guide", "exec"), {})  # noqa: S102 - our own example
    assert ("text", capsys.readouterr().out) == shown[number + 1]
