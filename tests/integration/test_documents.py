"""What the documents show is what happens: every example in them is run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journal import Account, Transfer
from projections import Ledger

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """(language, text) of each fenced block, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return ((match["language"], match["text"]) for match in BLOCK.finditer(text))


def run_python(document: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run the document's Python as one program; return what each block printed.

    A block of text after a block of Python is what that one must print.
    """
    namespace: dict[str, Any] = {}
    printed: list[str] = []
    for language, text in blocks(document):
        if language == "python":
            exec(compile(text, document, "exec"), namespace)  # noqa: S102 - our own examples
            printed.append(capsys.readouterr().out)
        elif language == "text":
            assert printed[-1] == text
    return printed


def test_the_readme_is_a_story_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's program prints what it says, crash included; then its commands work on it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    printed = run_python("README.md", capsys)
    assert [text for text in printed if text] == [
        "CREATED CREATED\n",
        "EXCEEDS_CREDITS\n",
        "True\n",
        "10000\n",
    ]
    commands = [
        line.removeprefix("$ ")
        for language, text in blocks("README.md")
        if language == "console"
        for line in text.splitlines()
        if line.startswith("$ nostro")
    ]
    assert len(commands) >= 6
    for command in commands:
        arguments = shlex.split(command)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "tools.cli", *arguments],
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
