"""Ctrl-C at many moments of every command: exit code 130, one line, and nothing half done.

NOSTRO_INTERRUPTIONS sets how many moments are tried for each command.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import Account, Ledger, Transfer, verify
from tests.documents import PACKAGE_PATH
from tests.integration.test_cli import MAPPING, good

MOMENTS: Final = int(os.environ.get("NOSTRO_INTERRUPTIONS", "2"))
SECONDS_MAX: Final = 60
PROGRESS: Final = re.compile(r"[a-z -]+: .*[0-9]+ [a-z]+/s")
INTERRUPTED: Final = "nostro: interrupted"
CHILD: Final = """
import os, sys
from nostro.tools.cli.start import end_at_once, main
end_at_once()
os.write(int(sys.argv.pop(1)), b"!")
main()
"""
"""The command, which says on a pipe when it has begun: before that, Python itself starts."""

COMMANDS: Final = (
    "--help",
    "accounts books",
    "backup books copy",
    "balance books 1",
    "bench --quick --in .",
    "checkpoint books",
    "demo --payments 10000 --keep shown",
    "export books --out books.jsonl",
    "import fresh rows.csv -m m.toml",
    "import fresh kept.jsonl",
    "init fresh",
    "key new key",
    "log books",
    "prove books 7 --out proof",
    "replay books --check",
    "restore copied fresh",
    "root books --fresh",
    "statement books 1",
    "verify books",
)
CLUSTER: Final = "--cluster-id 0 --replicas 127.0.0.1:1"
LONG: Final = {
    "bench --quick --in .": 130,
    f"import-cluster fresh {CLUSTER} --timeout 60": 130,
    f"mirror books --once {CLUSTER} --timeout 60": 130,
    f"reconcile books {CLUSTER} --timeout 60": 130,
    "log books --follow": 0,
    "serve books --port 0": 0,
}
"""Commands that go on until they are interrupted, and the exit code once they have begun."""
LONG_SECONDS: Final = 3.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands need."""
    path = tmp_path_factory.mktemp("folder")
    with Ledger.open(path / "books", segment_bytes_max=8192) as ledger:
        ledger.create_accounts([Account(id=n, ledger=1, code=1) for n in (1, 2)])
        for first in range(1, 4_000, 100):
            ledger.create_transfers(
                [Transfer(id=first + n, debit_account_id=1, credit_account_id=2, amount=5, ledger=1,
                          code=1) for n in range(100)]
            )  # fmt: skip
    (path / "m.toml").write_text(MAPPING, encoding="utf-8")
    rows = "".join(f"r{n},2001-02-01,{1 + n % 7},in,1.00\n" for n in range(3_000))
    (path / "rows.csv").write_text("id,day,customer,kind,amount\n" + rows, encoding="utf-8")
    good("export", path / "books", "--out", path / "kept.jsonl", "-q")
    good("backup", path / "books", path / "copied", "-q")
    shutil.copytree(path / "books", path / "torn")
    return path


@attrs.frozen
class Ended:
    code: int
    stdout: str
    stderr: str


def run(folder: Path, command: str, seconds: float | None) -> tuple[Ended, float]:
    """Run a command, and interrupt its process group ``seconds`` after it has begun."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(writing), *command.split()],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[writing],
        env={**os.environ, "PYTHONPATH": PACKAGE_PATH},
        process_group=0,
    ) as process:
        os.close(writing)
        try:
            assert os.read(reading, 1) == b"!"
            began = time.perf_counter()
            try:
                out, err = process.communicate(timeout=SECONDS_MAX if seconds is None else seconds)
            except subprocess.TimeoutExpired:
                assert seconds is not None
                os.killpg(process.pid, signal.SIGINT)
                out, err = process.communicate(timeout=SECONDS_MAX)
            return Ended(process.returncode, out, err), time.perf_counter() - began
        finally:
            process.kill()
            os.close(reading)


def complaint(command: str, ended: Ended, usual: int) -> str:
    """What is wrong with how an interrupted command has ended; nothing if it is all right."""
    lines = ended.stderr.splitlines()
    if "Traceback" in ended.stderr or "Exception ignored" in ended.stderr:
        return ended.stderr
    if ended.code == usual == 0 and INTERRUPTED not in ended.stderr:
        return ""
    if " rows.csv " in command and any(f"{INTERRUPTED}; " in line for line in lines):
        return "" if ended.code == 130 else f"exit code {ended.code}"
    said = [line for line in lines if not PROGRESS.match(line)]
    return "" if (ended.code, said) == (130, [INTERRUPTED]) else f"{ended.code}: {ended.stderr}"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupted_command_ends_with_one_line(
    folder: Path, tmp_path: Path, command: str
) -> None:
    """Whenever Ctrl-C comes; afterwards, the same command does what it does, or has done it."""
    shutil.copytree(folder, tmp_path / "usual")
    usual, seconds = run(tmp_path / "usual", command, None)
    assert usual.code == 0, usual
    found = []
    for moment in range(MOMENTS):
        place = tmp_path / str(moment)
        shutil.copytree(folder, place)
        after = seconds * moment / MOMENTS
        ended, _ = run(place, command, after)
        found.append(complaint(command, ended, usual.code))
        if ended.code == 130:
            again, _ = run(place, command, None)
            if again.code not in {0, 2} or "Traceback" in again.stderr:
                found.append(f"again, after {after:.3f} s: {again}")
        for ledger in ("books", "fresh", "copy", "copied"):
            if (place / ledger / "HEAD").exists():
                verify(place / ledger)
        shutil.rmtree(place)
    assert not any(found), "\n".join(found)


@pytest.mark.parametrize("command", LONG)
def test_a_command_that_goes_on_ends_with_one_line_too(
    folder: Path, tmp_path: Path, command: str
) -> None:
    """Early it is interrupted; later this is how it ends."""
    if CLUSTER in command:
        pytest.importorskip("tigerbeetle")
    found = []
    for moment in range(MOMENTS):
        place = tmp_path / str(moment)
        shutil.copytree(folder, place)
        ended, _ = run(place, command, LONG_SECONDS * (1 + moment) / MOMENTS)
        found.append(complaint(command, ended, LONG[command]))
        verify(place / "books")
    assert not any(found), "\n".join(found)


IN_A_DESTRUCTOR: Final = """
import os, signal, time
from nostro.tools.cli.terminal.interruption import CommandInterrupted, body, end_at_once

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

class InDestructor:
    def __del__(self):
        interrupt()

class Error(Exception):
    @property
    def __class__(self):
        interrupt()
        return Error

class InHook:
    def __del__(self):
        raise Error

end_at_once()
try:
    with body():
        %s()
        time.sleep(2 * 60)
except CommandInterrupted as error:
    print(error.exit_code)
"""


@pytest.mark.parametrize("where", ["InDestructor", "InHook"])
def test_ctrl_c_in_a_destructor_is_not_lost(where: str) -> None:
    """Python drops what a destructor raises, and what the hook raises that is called then."""
    found = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR % where],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env={**os.environ, "PYTHONPATH": PACKAGE_PATH},
        check=False,
    )
    assert found.stdout == "130\n", found
    assert "KeyboardInterrupt" not in found.stderr
    assert "sys.unraisablehook" not in found.stderr


def test_a_ledger_whose_making_was_interrupted_is_made_by_the_next_init(tmp_path: Path) -> None:
    """A crash or Ctrl-C in its middle leaves folders without HEAD."""
    (tmp_path / "books" / "segments").mkdir(parents=True, mode=0o700)
    (tmp_path / "books").chmod(0o700)
    assert "An empty ledger" in good("init", tmp_path / "books")
    assert "is a ledger already" in good("init", tmp_path / "books")
