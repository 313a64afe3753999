"""The command line: what people type, what they read, and how it ends."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result

from nostro import Ledger, journal
from nostro.tools.cli.application import COMMANDS, application
from nostro.tools.cli.import_export.import_report import Summary, show
from nostro.tools.importing.report import Report
from tests.journals import flip

MAPPING = """\
namespace = "shop"
[transfer]
key = "id"
ledger = 1
code = 7
[date]
column = "day"
format = "%Y-%m-%d"
[amount]
column = "amount"
scale = 2
[customer]
column = "customer"
code = 10
[direction]
column = "kind"
credit = "in"
debit = "out"
[counter]
default = "cash"
[counter.accounts]
cash = { id = 900, code = 20 }
"""
ROWS = """\
id,day,customer,kind,amount
a,2001-02-01,1,in,1500.00
b,2001-02-02,2,in,70.05
c,2001-02-02,1,out,1.00
d,2001-02-03,1,in,2.50
"""


def run(*args: object) -> Result:
    return CliRunner().invoke(application, [str(arg) for arg in args])


def good(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def objects(*args: object) -> list[dict[str, object]]:
    return [json.loads(line) for line in good(*args).splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a mapping and a file of four rows."""
    (tmp_path / "m.toml").write_text(MAPPING, encoding="utf-8")
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def books(shop: Path) -> Path:
    """A ledger with the four rows: seven events."""
    good("import", shop / "books", shop / "rows.csv", "-m", shop / "m.toml", "-q")
    return shop / "books"


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_help_fits_80_columns_and_ends_with_examples(name: str | None) -> None:
    """Help is read in a terminal, and copied from."""
    text = good(*([name] if name else []), "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert "Examples:\n  nostro " in text


def test_nothing_typed_shows_the_help() -> None:
    """A newcomer who types the name alone is told what there is."""
    assert good() == good("--help")


def test_init_makes_an_empty_ledger_once(tmp_path: Path) -> None:
    """The second time changes nothing and says so."""
    assert "An empty ledger" in good("init", tmp_path / "books")
    (again,) = objects("init", tmp_path / "books", "--json")
    assert (again["created"], again["position"]) == (False, 0)


def test_accounts_are_listed_with_their_balances(books: Path) -> None:
    """In order of creation; filters choose; the balance is credits minus debits."""
    text = good("accounts", books, "--scale", 2)
    assert [line.split()[0] for line in text.splitlines()] == ["account", "900", "1", "2", "3"]
    assert text.splitlines()[2].endswith("1.00  1,502.50   1,501.50")
    (cash,) = objects("accounts", books, "--code", 20, "--scale", 2, "--json")
    assert (cash["id"], cash["balance"]) == ("900", "-1571.55")
    assert objects("accounts", books, "--ledger", 2, "--json") == []
    assert "1 of 3 accounts" in good("accounts", books, "--limit", 1)
    assert "2 accounts." in good("accounts", books, "--at", "2001-02-01")


def test_a_balance_is_asked_for_now_and_at_any_moment(books: Path) -> None:
    """By day, by time, by position; ids in decimal and hexadecimal; several at once."""
    (now,) = objects("balance", books, 1, "--json")
    (day,) = objects("balance", books, 1, "--at", "2001-02-02", "--json", "--scale", 2)
    (start,) = objects("balance", books, 1, "--at", "2001-02-02T00:00:00Z", "--json")
    assert (now["balance"], day["balance"], start["balance"]) == ("150150", "1499.00", "150000")
    accounts = objects("balance", books, "0x1", 900, 1, "--position", 4, "--json")
    assert [account["balance"] for account in accounts] == ["150000", "-150000", "150000"]
    assert "At 2001-02-02 23:59:59.999999999 UTC" in good("balance", books, 1, "--at", "2001-02-02")


def test_a_statement_shows_each_posting_between_two_balances(books: Path) -> None:
    """Opening, postings with their counter-account, closing; as text, JSON and CSV."""
    text = good("statement", books, 1, "--from", "2001-02-02", "--scale", 2)
    assert [line.split() for line in text.splitlines()[2:]] == [
        ["opening", "balance", "1,500.00"],
        ["2001-02-02", "900", "1.00", "1,499.00"],
        ["2001-02-03", "900", "2.50", "1,501.50"],
        ["closing", "balance", "1.00", "2.50", "1,501.50"],
    ]
    (whole,) = objects("statement", books, 1, "--to", "2001-02-02", "--json")
    assert (whole["opening"], whole["closing"]) == ("0", "149900")
    (newest,) = objects("statement", books, 1, "--limit", 1, "--json")
    assert (newest["opening"], newest["closing"]) == ("149900", "150150")
    rows = list(csv.DictReader(good("statement", books, 1, "--csv", "--scale", 2).splitlines()))
    assert [row["balance"] for row in rows] == ["1500.00", "1499.00", "1501.50"]
    (none,) = objects("statement", books, 1, "--from", "2002-01-01", "--json")
    assert (none["opening"], none["closing"], none["postings"]) == ("150150", "150150", [])


def test_the_log_shows_every_event_on_one_line(books: Path) -> None:
    """From and to by position or time, of one account, at most so many."""
    lines = good("log", books).splitlines()
    assert len(lines) == 7
    assert lines[3].split() == ["4", "2001-02-01", "00:00:00.000000004", "900", "->", "1", "150000"]
    assert good("log", books, "--from", 3, "--to", 5).splitlines() == lines[2:5]
    assert good("log", books, "--from", 3, "--limit", 1).splitlines() == lines[2:3]
    assert good("log", books, "--from", "2001-02-03").splitlines() == lines[6:]
    assert good("log", books, "--to", "2001-02-01").splitlines() == [*lines[:2], lines[3]]
    assert good("log", books, "--account", 2).splitlines() == [lines[2], lines[4]]
    events = objects("log", books, "--json")
    assert [event["position"] for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert (events[0]["event"], events[6]["event"]) == ("account_created", "transfer_created")
    assert events[4]["amount"] == "7005"


def test_replay_rebuilds_and_audits(books: Path) -> None:
    """The same hash as the live state, up to any point; the audit names what it compared."""
    (whole,) = objects("replay", books, "--json", "-q")
    with Ledger.open(books, create=False, read_only=True) as ledger:
        assert whole["state_sha256"] == ledger.state_sha256().hex()
    (part,) = objects("replay", books, "--until", "2001-02-02", "--json", "-q")
    assert (part["transfers"], part["debits_posted"]) == (3, "157105")
    (counted,) = objects("replay", books, "--until", 4, "--json", "-q")
    assert counted["events"] == 4
    (audit,) = objects("replay", books, "--check", "--json", "-q")
    assert audit["passed"] is True
    assert "The audit passed" in good("replay", books, "--check")


def test_an_audit_that_fails_says_so(books: Path) -> None:
    """A checkpoint that cannot be read is a failed check, exit code 1."""
    good("checkpoint", books)
    (checkpoint, *_) = sorted((books / "checkpoints").iterdir())
    flip(checkpoint)
    result = run("replay", books, "--check", "-q")
    assert result.exit_code == 1
    assert "The audit FAILED" in result.stdout


def test_verify_reads_every_byte(books: Path) -> None:
    """Sound is exit code 0; the chain hash stands for the whole journal."""
    assert "Sound: the journal is consistent with itself." in good("verify", books)
    (report,) = objects("verify", books, "--json", "-q")
    assert (report["sound"], report["events"]) == (True, 7)
    (quick,) = objects("verify", books, "--quick", "--json", "-q")
    assert quick == report  # nothing is sealed yet
    refused = run("verify", books, "--quick", "--decode")
    assert (refused.exit_code, "not both" in refused.stderr) == (2, True)


def test_damage_is_exit_code_3_with_file_offset_position_and_cause(books: Path) -> None:
    """What lies before the damage is still shown."""
    (segment,) = (books / "segments").iterdir()
    flip(segment, -100)
    result = run("verify", books, "-q")
    assert result.exit_code == 3
    assert f"{segment}: damaged at byte " in result.stderr
    assert "(position 4)" in result.stderr
    assert "hint: " in result.stderr
    told = json.loads(run("verify", books, "-q", "--json").stdout)
    assert (told["sound"], told["position"], told["path"]) == (False, 4, str(segment))
    log = run("log", books)
    assert (log.exit_code, len(log.stdout.splitlines())) == (3, 3)


def test_a_checkpoint_is_written_now(books: Path) -> None:
    """Its position is the ledger's."""
    (told,) = objects("checkpoint", books, "--json")
    assert told["position"] == 7
    assert Path(str(told["path"])).is_file()


def test_a_second_writer_is_turned_away_and_readers_are_not(books: Path, shop: Path) -> None:
    """Exit code 2 and a hint; reading goes on beside the writer."""
    with Ledger.open(books):
        for args in (
            ("checkpoint", books),
            ("import", books, shop / "rows.csv", "-m", shop / "m.toml"),
        ):
            result = run(*args)
            assert result.exit_code == 2
            assert "already open for writing" in result.stderr
            assert "hint: " in result.stderr
        good("balance", books, 1)
        good("log", books)
        good("verify", books)


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["balance", "BOOKS", "77", "1"], 1, "no account 77\n"),
        (["balance", "BOOKS", "1", "--at", "2000-01-01"], 1, "no account 1 at that moment"),
        (["statement", "BOOKS", "77"], 1, "no account 77\n"),
        (["balance", "BOOKS", "1", "--position", "8"], 2, "position 8 is outside the journal"),
        (["replay", "BOOKS", "--until", "8"], 2, "position 8 is outside the journal"),
        (["balance", "BOOKS", "1", "--position", "1", "--at", "2001-01-01"], 2, "exclude"),
        (["balance", "BOOKS", "x"], 2, "not an id: 'x'"),
        (["balance", "BOOKS", "0"], 2, "an id is a number from 1"),
        (["balance", "BOOKS", "1", "--at", "soon"], 2, "'soon' is not a time"),
        (["balance", "BOOKS", "1", "--scale", "99"], 2, "99 is not in the range"),
        (["statement", "BOOKS", "1", "--csv", "--json"], 2, "exclude each other"),
        (["balance", "NOWHERE", "1"], 2, "not a ledger directory"),
        (["log", "NOWHERE"], 2, "not a ledger directory"),
        (["verify", "NOWHERE"], 2, "not a ledger directory"),
        (["checkpoint", "NOWHERE"], 2, "not a ledger directory"),
        (["init", "SHOP"], 2, "not a ledger directory"),
        (["import", "SHOP", "ROWS", "-m", "MAPPING"], 2, "not a ledger directory"),
        (["import", "BOOKS", "NOWHERE", "-m", "MAPPING"], 2, "No such file"),
        (["import", "BOOKS", "ROWS", "-m", "NOWHERE"], 2, "No such file"),
        (["import", "BOOKS", "ROWS", "-m", "ROWS"], 2, "not a TOML file"),
        (["import", "BOOKS", "MAPPING", "-m", "MAPPING"], 2, "has no column 'id'"),
        (["import", "BOOKS", "ROWS", "-m", "MAPPING", "--errors-to", "ROWS"], 2, "is read"),
        (["import", "BOOKS", "ROWS"], 2, "Missing option"),
        (["blance", "BOOKS"], 2, "no command 'blance' (did you mean 'balance'?)"),
        (["balance", "BOOKS", "1", "--scal", "2"], 2, "--scal"),
    ],
)
def test_wrong_use_is_told_in_one_message_with_the_right_exit_code(
    books: Path, shop: Path, args: list[str], code: int, told: str
) -> None:
    """Never a traceback, never on standard output, and nothing changed on disk."""
    places = {
        "BOOKS": books,
        "SHOP": shop,
        "ROWS": shop / "rows.csv",
        "MAPPING": shop / "m.toml",
        "NOWHERE": shop / "nowhere",
    }
    before = contents(shop)
    result = run(*(places.get(arg, arg) for arg in args))
    assert result.exit_code == code, result.output
    assert told in result.stderr
    assert result.stderr.startswith("nostro: ")
    assert "\nhint: " in result.stderr
    assert result.stdout == ""
    assert contents(shop) == before


def test_a_dry_run_touches_nothing_and_says_what_would_be(shop: Path) -> None:
    """Not even the ledger's directory is made; beside a ledger it is compared with it."""
    before = contents(shop)
    arguments = ("import", shop / "books", shop / "rows.csv", "-m", shop / "m.toml", "--dry-run")
    (dry,) = objects(*arguments, "--json")
    assert (dry["transfers_created"], dry["accounts_created"], dry["dry_run"]) == (4, 3, True)
    assert "Dry run, nothing written" in good(*arguments)
    assert contents(shop) == before
    good(*arguments[:-1])
    before = contents(shop)
    (compared,) = objects(*arguments, "--json")
    assert (compared["transfers_created"], compared["already_there"]) == (0, 4)
    assert contents(shop) == before


def test_a_bad_row_stops_the_import_and_says_how_to_go_on(shop: Path) -> None:
    """Exit code 1; the line, the reason, and nothing posted; the corrected file goes in whole."""
    arguments = ("import", shop / "books", shop / "rows.csv", "-m", shop / "m.toml")
    (shop / "rows.csv").write_text(ROWS.replace("1.00\n", "1.001\n"), encoding="utf-8")
    result = run(*arguments)
    assert result.exit_code == 1
    assert "stopped at line 4: amount has more than 2 decimals: '1.001'" in result.stderr
    assert "hint: nothing was posted; correct the row, or leave bad rows out" in result.stderr
    assert not (shop / "books").exists()
    (shop / "rows.csv").write_text(ROWS, encoding="utf-8")
    (report,) = objects(*arguments, "--json")
    assert (report["outcome"], report["transfers_created"]) == ("complete", 4)
    assert report["already_there"] == 0
    assert report["date_first"] == "2001-02-01T00:00:00.000000000Z"


def test_skipped_rows_are_counted_and_written_down(shop: Path) -> None:
    """The file of rejected rows holds line, reason and the row as it was; exit code 1."""
    rows = ROWS.replace("70.05", "").replace("2.50", "x")
    (shop / "rows.csv").write_text(rows, encoding="utf-8")
    result = run(
        "import", shop / "books", shop / "rows.csv", "-m", shop / "m.toml",
        "--on-error", "skip", "--errors-to", shop / "bad.csv",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "skipped: amount is empty" in result.stdout
    assert "2 rows skipped; the first: line 3: amount is empty" in result.stderr
    with (shop / "bad.csv").open(encoding="utf-8", newline="") as file:
        rejected = list(csv.DictReader(file))
    assert [(row["line"], row["reason"], row["id"]) for row in rejected] == [
        ("3", "amount is empty", "b"),
        ("5", "amount is not a number", "d"),
    ]


@pytest.mark.parametrize(
    ("failure", "code", "hint"),
    [
        (lambda path: journal.JournalFull(path, 4096), 1, "free space on the disk"),
        (lambda path: journal.WriterPoisoned(path, "fdatasync", "EIO"), 1, "check the disk"),
    ],
)
def test_a_failing_disk_ends_the_import_with_what_is_in(
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[[Path], journal.JournalError],
    code: int,
    hint: str,
) -> None:
    """What was acknowledged is counted, and the same command goes on later."""
    real = Ledger.create_transfers
    answers = [False, True]

    def fail_second(ledger: Ledger, transfers: journal.Rows) -> journal.Rows:
        if answers.pop(0):
            raise failure(shop / "books")
        return real(ledger, transfers)

    arguments = ("import", shop / "books", shop / "rows.csv", "-m", shop / "m.toml")
    with monkeypatch.context() as patch:
        # private: the second batch must fail, and in this way
        patch.setattr(Ledger, "create_transfers", fail_second)
        result = run(*arguments, "--batch-rows", 2)
    assert result.exit_code == code
    assert "2 rows are in, up to line 3" in result.stderr
    assert hint in result.stderr
    (report,) = objects(*arguments, "--json")
    assert (report["already_there"], report["transfers_created"]) == (2, 2)


def test_output_is_plain_where_there_is_no_terminal(books: Path) -> None:
    """No colour, no boxes, no cursor movements: what a pipe or a file can use."""
    for args in (
        ("accounts", books),
        ("balance", books, 1),
        ("statement", books, 1),
        ("replay", books, "--check"),
        ("verify", books),
    ):
        result = run(*args)
        assert result.output.isascii()
        assert "\x1b" not in result.output


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below ``folder`` with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_that_was_interrupted_claims_no_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has written none, so nobody may take them for imported."""
    summary = Summary(Report(created=5), scale=2, directory=tmp_path, dry="a new ledger")
    show(summary, as_json=False)
    assert "interrupted; nothing was written" in capsys.readouterr().err
    show(attrs.evolve(summary, dry=None), as_json=False)
    assert "interrupted; 5 rows are in" in capsys.readouterr().err
