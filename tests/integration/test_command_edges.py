"""Every command with odd streams, numbers and files: one clear line, and it ends.

The commands and their parameters come from the command line itself, so a new one is in these tests
by itself. If it needs an argument of a new kind, :func:`sample` says so.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import click
import pytest

from nostro import Account, Ledger, Transfer
from nostro.tools.cli.application import END_WITH_READER
from tests.forked_command import Outcome, leaves, outcome
from tests.integration.test_cli import MAPPING

pytestmark = [
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

COMMANDS: Final = dict(leaves())
LONG: Final = {"demo", "serve", "bench", "cluster up"}
"""They go on for long when all is well, so they are not run with arguments that are all right."""
READ_FILES: Final = {"read_root", "read_proof"}
CLUSTER: Final = ("--cluster-id", "1", "--replicas", "127.0.0.1:1")
WRITTEN: Final = {"directory", "keep", "out", "folder"}
"""Parameters that name what is made: where a long command accepts the path, it begins to work."""
ANY_VALUE: Final = {"allowed_hosts", "clock_lead"}
"""With any value of these, the server begins to serve."""
NEEDED: Final = {
    "import": ("--mapping", "mapping.toml"),
    "mirror": (*CLUSTER, "--status"),
    "reconcile": (*CLUSTER, "--timeout", "0.1"),
    "import-cluster": (*CLUSTER, "--timeout", "0.1"),
}
"""Options without which a command only says that they are missing."""

each_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@attrs.define
class Desk:
    """A ledger, and files of every kind that a command asks for."""

    folder: Path
    books: Path
    numbers: Iterator[int]

    def run(self, *args: object, **streams: str) -> Outcome:
        return outcome(*args, folder=self.folder, **streams)

    def new(self) -> str:
        return str(self.folder / f"new{next(self.numbers)}")

    def sample(self, words: tuple[str, ...], parameter: click.Parameter) -> str:
        """A value for an argument that the command needs."""
        if words == ("key", "new") or parameter.name == "destination":
            return self.new()
        if words == ("import",) and parameter.name == "file":
            return str(self.folder / "rows.csv")
        samples = {
            "directory": self.books,
            "source": self.books,
            "file": self.folder / "key",
            "proof": self.folder / "proof",
            "root": self.folder / "root",
            "account": 1,
            "transfer": 1,
        }
        assert parameter.name in samples, f"add a sample of {parameter.name!r} to these tests"
        return str(samples[parameter.name])

    def arguments(
        self, words: tuple[str, ...], chosen: click.Parameter | None = None, value: str = ""
    ) -> list[str]:
        """The words of a command that works, but for ``value`` in the place of one parameter."""
        args = list(words)
        args += [
            value if parameter is chosen else self.sample(words, parameter)
            for parameter in COMMANDS[words].params
            if isinstance(parameter, click.Argument)
        ]
        options = NEEDED.get(" ".join(words), ())
        if chosen is not None and chosen.opts[-1] in options:
            at = options.index(chosen.opts[-1])
            options = (*options[:at], *options[at + 2 :])
        args += [str(self.folder / one) if one == "mapping.toml" else one for one in options]
        if isinstance(chosen, click.Option):
            args.append(f"{chosen.opts[-1]}={value}")
        return args


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    write_books(folder / "books")
    (folder / "mapping.toml").write_text(MAPPING, encoding="utf-8")
    rows = "id,day,customer,kind,amount\nr1,2001-02-01,7,in,1.00\n"
    (folder / "rows.csv").write_text(rows)
    for args in (
        ("key", "new", folder / "key"),
        ("root", folder / "books", "--out", folder / "root"),
        ("prove", folder / "books", 1, "--out", folder / "proof"),
    ):
        assert outcome(*args).code == 0
    return Desk(folder, folder / "books", itertools.count())


def write_books(path: Path) -> None:
    """A ledger of several segments, with a checkpoint and indexes."""
    with Ledger.open(path, segment_bytes_max=4096) as ledger:
        ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
        for id_ in range(1, 30):
            ledger.create_transfers(
                [Transfer(id=id_, debit_account_id=1, credit_account_id=2, amount=1, ledger=1,
                          code=1)]
            )  # fmt: skip


def with_json(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """No option, and --json if there is one."""
    has = any("--json" in parameter.opts for parameter in COMMANDS[words].params)
    return [(), ("--json",)] if has else [()]


# --- streams --------------------------------------------------------------------------------------


@each_command
def test_a_closed_output_is_told_before_anything_is_done(
    desk: Desk, words: tuple[str, ...]
) -> None:
    """In one line, with exit code 2, or in silence if there is nowhere to say it."""
    for options in with_json(words):
        args = [*desk.arguments(words), *options]
        told = desk.run(*args, stdout="closed")
        assert (told.code, told.stderr.splitlines()[0]) == (2, "nostro: standard output is closed")
        assert desk.run(*args, stdout="closed", stderr="closed").code == 2
    assert not [*desk.folder.glob("new*")]


@each_command
def test_the_exit_code_does_not_depend_on_who_reads(desk: Desk, words: tuple[str, ...]) -> None:
    """Nobody reads errors, or the output; only what merely shows events may stop with 0."""
    if " ".join(words) in LONG:
        words = (*words, "--no-such-option")
        cases = [list(words)]
    else:
        cases = [[*desk.arguments(words), *options] for options in with_json(words)]
    for args in cases:
        code = desk.run(*args).code
        for number, streams in enumerate((
            {"stderr": "closed"}, {"stderr": "full"}, {"stderr": "unread"}, {"stdout": "unread"},
            {"stdout": "unread", "stderr": "unread"},
        )):  # fmt: skip
            again = [f"{arg}-{number}" if "/new" in arg else arg for arg in args]
            found = desk.run(*again, **streams)
            found.check(f"{args} {streams}")
            if "stdout" in streams and words[0] in END_WITH_READER:
                assert found.code in (code, 0)
            else:
                assert found.code == code, (args, streams, found.stderr)


@each_command
def test_an_output_that_is_full_is_told(desk: Desk, words: tuple[str, ...]) -> None:
    """Whatever the command prints, with or without --json; help too."""
    told = desk.run(*words, "--help", stdout="full")
    assert told.code == 1
    assert told.stderr.startswith("nostro: standard output: No space left on device\nhint: ")
    if " ".join(words) in LONG:
        return
    for options in with_json(words):
        args = [*desk.arguments(words), *options]
        prints = desk.run(*args).stdout
        again = [f"{arg}-again" if "/new" in arg else arg for arg in args]
        told = desk.run(*again, stdout="full")
        told.check(f"{args}")
        if prints:
            assert told.code == 1
            assert "nostro: standard output: No space left on device\n" in told.stderr


def test_a_file_of_the_ledger_does_not_become_a_closed_stream(desk: Desk, tmp_path: Path) -> None:
    """What is written to standard error does not go into the next file that is opened."""
    rows = ("import", tmp_path / "books", desk.folder / "rows.csv", "--mapping")
    assert desk.run(*rows, desk.folder / "mapping.toml", stderr="closed").code == 0
    assert desk.run("accounts", tmp_path / "books", "--at", "never", stderr="closed").code == 2
    assert desk.run("verify", tmp_path / "books").code == 0


# --- numbers --------------------------------------------------------------------------------------


@each_command
def test_no_number_is_too_odd(desk: Desk, words: tuple[str, ...]) -> None:
    """Far too large, far too long, negative or none at all."""
    for parameter in COMMANDS[words].params:
        if is_number(parameter) and parameter.name not in ANY_VALUE:
            for value in ("1" + "0" * 24, str(2**63), "9" * 5_000, "-1", "nan", "inf", "1e400", ""):
                found = desk.run(*desk.arguments(words, parameter, value))
                found.check_told(f"{words} {parameter.name}={value[:30]}")


def is_number(parameter: click.Parameter) -> bool:
    """Whether it is written as one value that is neither a word of a list nor a file's name."""
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    return not (is_flag or is_file(parameter) or isinstance(parameter.type, click.Choice))


def is_file(parameter: click.Parameter) -> bool:
    return isinstance(parameter.type, click.Path) or parameter.type.name in READ_FILES


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def odd_files(tmp_path: Path) -> list[str]:
    """Paths that a program waits for, cannot read to the end, or cannot name."""
    fifo, folder, loop = (tmp_path / name for name in ("fifo", "folder", "loop"))
    os.mkfifo(fifo)
    folder.mkdir()
    loop.symlink_to(loop)
    contents = {
        "empty": "", "text": "hello", "deep.json": "[" * 100_000, "deep.toml": "a=" + "[" * 100_000,
        "keys.toml": ".".join("a" * 20_000) + "=1", "tables.toml": f"[{'.'.join('a' * 5_000)}]\n",
    }  # fmt: skip
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    return [
        *map(str, (fifo, folder, loop, tmp_path / "huge", *(tmp_path / name for name in contents))),
        "/dev/zero", "/dev/full", "/dev/null", str(tmp_path / "text" / "x"), "x" * 300, "",
        os.fsdecode(os.fsencode(tmp_path) + b"/none-\xff"),
    ]  # fmt: skip


@each_command
def test_no_file_is_too_odd(
    desk: Desk, words: tuple[str, ...], odd_files: list[str], tmp_path: Path
) -> None:
    """FIFOs, devices, directories, loops, deep nesting, a terabyte, names that are not UTF-8."""
    for parameter in COMMANDS[words].params:
        if not is_file(parameter) or (" ".join(words) in LONG and parameter.name in WRITTEN):
            continue
        for path in odd_files:
            args = desk.arguments(words, parameter, path)
            options = with_json(words)[-1]
            found = desk.run(*args, *options)
            found.check_told(f"{words} {parameter.name}={path[-40:]}")
            shutil.rmtree(tmp_path / "folder", ignore_errors=True)
            (tmp_path / "folder").mkdir(exist_ok=True)


@each_command
def test_a_path_that_is_not_utf_8_is_a_path(
    desk: Desk, words: tuple[str, ...], tmp_path: Path
) -> None:
    """The same exit code as for any other, and --json writes JSON."""
    if " ".join(words) in LONG or "directory" not in {it.name for it in COMMANDS[words].params}:
        return
    odd = tmp_path / os.fsdecode(b"books-\xff\xfe")
    shutil.copytree(desk.books, odd)
    for options in with_json(words):
        plain = [*desk.arguments(words), *options]
        args = [str(odd) if arg == str(desk.books) else arg for arg in plain]
        args = [f"{arg}-\udcff" if "/new" in arg else arg for arg in args]
        found = desk.run(*args)
        found.check(f"{args}")
        assert found.code == desk.run(*plain).code
        if options:
            for line in found.stdout.splitlines():
                json.loads(line)


REPLACED: Final = (
    "HEAD", "MANIFEST", "segments/*.segment", "checkpoints/*.checkpoint", "indexes/*.ids",
)  # fmt: skip


@each_command
def test_something_else_in_place_of_a_ledgers_file(
    desk: Desk, words: tuple[str, ...], tmp_path: Path
) -> None:
    """A directory or a FIFO: the message names it, nothing hangs, and nothing is written to it."""
    if " ".join(words) in LONG or "directory" not in {it.name for it in COMMANDS[words].params}:
        return
    for number, (pattern, make) in enumerate(itertools.product(REPLACED, (os.mkdir, os.mkfifo))):
        books = tmp_path / f"books{number}"
        shutil.copytree(desk.books, books)
        replaced = max(books.glob(pattern))
        replaced.unlink()
        make(replaced)
        args = [str(books) if a == str(desk.books) else a for a in desk.arguments(words)]
        found = desk.run(*args)
        found.check_told(f"{args} {pattern} {make.__name__}")
        if found.code == 1 and "regular file" in found.stderr:
            assert replaced.name in found.stderr
        assert "Errno" not in found.stderr, found.stderr
        shutil.rmtree(books)
