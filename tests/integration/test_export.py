"""``nostro export`` and the way back: complete, in bounds, whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nostro import AMOUNT_MAX, Account, Ledger, Transfer, TransferFlags, audit, journal
from tests.clocks import HandClock
from tests.integration.test_backup_command import interrupted
from tests.integration.test_cli import contents, good, objects, run

SECOND_NS = 10**9


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """Accounts, transfers, one refused for good, one that expired, an open one: ten events."""
    clock = HandClock(10**18)
    path = tmp_path / "books"
    with Ledger.open(path, clock=clock, expiry_seconds=10_000) as ledger:
        ledger.create_accounts(
            [Account(id=n, ledger=1, code=7, user_data_128=2**127 + n, user_data_64=2**63,
                     user_data_32=3) for n in (1, 2, 2**100)]
        )  # fmt: skip
        clock.now += SECOND_NS
        ledger.create_transfers([pay(10), pay(11, amount=2**70, credit_account_id=2**100)])
        ledger.create_transfers([pay(12, debit_account_id=99), pay(13)])
        ledger.create_transfers([pay(14, flags=TransferFlags.PENDING, timeout=2)])
        clock.now += 5 * SECOND_NS
        ledger.create_transfers([pay(15, flags=TransferFlags.PENDING, timeout=100)])
    return path


def pay(id_: int, **fields: Any) -> Transfer:  # noqa: ANN401 - any field of a transfer
    default = {"debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 1, "code": 1}
    return Transfer(id=id_, **{**default, **fields})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_event_is_in_the_export_with_every_field(books: Path, tmp_path: Path) -> None:
    """In order, with its request; what was refused and what expired as well."""
    out = tmp_path / "books.jsonl"
    assert "3 accounts, 6 transfers and 1 other event are in" in good("export", books, "--out", out)
    first, *events, last = lines(out)
    assert (first["nostro_export"], first["position"], first["complete"]) == (1, 10, True)
    assert (last["end"], last["events"]) == (True, 10)
    assert [event["position"] for event in events] == list(range(1, 11))
    assert [event["request"] for event in events] == [1, 1, 1, 4, 4, 6, 6, 8, 9, 10]
    assert events[0]["user_data_128"] == str(2**127 + 1)
    assert events[4]["amount"] == str(2**70)
    assert (events[5]["event"], events[5]["status"]) == (
        "transfer_refused", "DEBIT_ACCOUNT_NOT_FOUND",
    )  # fmt: skip
    assert (events[7]["timeout"], events[7]["flags"]) == (2, ["pending"])
    assert (events[8]["event"], events[8]["id"]) == ("pending_expired", "14")
    logged = objects("log", books, "--json")
    for event, shown in zip(events, logged, strict=True):
        assert shown.items() <= event.items()
    assert good("export", books) == out.read_text(encoding="utf-8")


def test_an_export_is_imported_as_the_same_ledger(books: Path, tmp_path: Path) -> None:
    """Balances, refused ids, open pending transfers and their deadlines; it can be written to."""
    out, new = tmp_path / "books.jsonl", tmp_path / "new"
    good("export", books, "--out", out)
    (told,) = objects("import", new, out, "--json", "--quiet")
    assert told["state_sha256"] == audit(books).state_sha256.hex()
    assert (told["position"], told["requests"]) == (10, 6)
    assert told["ledger_id"] != told["ledger_id_before"]
    assert good("accounts", new, "--json") == good("accounts", books, "--json")
    assert good("log", new) == good("log", books)
    clock = HandClock(10**18 + 10 * SECOND_NS)
    with Ledger.open(new, clock=clock) as ledger:
        statuses = [one.status.name for one in ledger.create_transfers([pay(12), pay(13), pay(16)])]
        assert statuses == ["ID_ALREADY_FAILED", "EXISTS", "CREATED"]
        clock.now += 200 * SECOND_NS
        assert ledger.lookup_accounts([1])[0].debits_pending == 0
    assert "passed" in good("replay", new, "--check")
    assert f"{tmp_path / 'again'} holds every event" in good("import", tmp_path / "again", out)


def test_bounds_choose_by_position_and_by_time(books: Path, tmp_path: Path) -> None:
    """Both included; what leaves events out is marked and cannot be imported."""

    def exported(*options: object) -> list[int]:
        _, *events, _ = (json.loads(line) for line in good("export", books, *options).splitlines())
        return [event["position"] for event in events]

    assert exported("--from", 5, "--to", 6) == [5, 6]
    assert exported("--to", 4) == [1, 2, 3, 4]
    times = [int(str(event["timestamp_ns"])) for event in objects("log", books, "--json")]
    assert exported("--from", times[3], "--to", times[4]) == [4, 5]
    assert exported("--from", "2001-09-10") == []
    part = tmp_path / "part.jsonl"
    good("export", books, "--from", 5, "--out", part)
    result = run("import", tmp_path / "new", part)
    assert result.exit_code == 2
    assert "leaves out events" in result.stderr
    whole = tmp_path / "whole.jsonl"
    good("export", books, "--to", 5, "--out", whole)
    assert objects("import", tmp_path / "new", whole, "--json")[0]["position"] == 5


def test_bounds_may_lie_inside_a_request(books: Path, tmp_path: Path) -> None:
    """A part of it is written; that part can be imported when nothing is missing before it."""
    clock = HandClock(11 * 10**17)
    with Ledger.open(books, clock=clock, expiry_seconds=10_000) as ledger:
        ledger.create_transfers(
            [pay(n, flags=TransferFlags.PENDING, timeout=1) for n in (40, 41, 42)]
        )
        clock.now += 9 * SECOND_NS
        ledger.lookup_accounts([1])
        assert ledger.position == 10 + 1 + 3 + 3
    for end in (13, 16):
        (told,) = objects("export", books, "--to", end, "--out", tmp_path / str(end), "--json")
        assert told["events"] == end
        (made,) = objects("import", tmp_path / f"new-{end}", tmp_path / str(end), "--json")
        (then,) = objects("replay", books, "--until", end, "--json")
        assert made["state_sha256"] == then["state_sha256"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[: text.rindex(b'{"end"')], id="cut"),
        pytest.param(lambda text: text[:-20], id="cut in a line"),
        pytest.param(lambda text: text.replace(b': "5"', b': "6"', 1), id="altered"),
        pytest.param(lambda text: re.sub(rb"\n.*\n", b"\n", text, count=1), id="line removed"),
        pytest.param(lambda text: text[:19], id="not JSON"),
    ],
)
def test_a_damaged_export_is_not_imported(
    books: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Exit code 3, the line is named, and nothing is left."""
    out = tmp_path / "books.jsonl"
    good("export", books, "--out", out)
    out.write_bytes(damage(out.read_bytes()))
    before = contents(tmp_path)
    result = run("import", tmp_path / "new", out)
    assert result.exit_code == 3, result.output
    assert f"nostro: {out}:" in result.stderr
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"debit_account_id": "1"', '"debit_account_id": "5"'),
        ('"position": 7', '"position": 8'),
        ('"request": 6', '"request": 5'),
        ('"code": 1', '"code": 70000'),
        ('"code": 1', '"code": "1"'),
        ('"flags": ["pending"]', '"flags": ["wishful"]'),
        ('"pending_expired"', '"pending_forgotten"'),
        ('"event": "pending_expired"', '"timestamp_ns": -1, "event": "pending_expired"'),
        ('"id": "14"}', '"id": "-14"}'),
        ('"DEBIT_ACCOUNT_NOT_FOUND"', '"FINE"'),
        ("", ""),
        ('"user_data_32"', '"user_data_33"'),
        ('"flags": ["pending"]', '"flags": [1]'),
        pytest.param('"code": 1', '"code": ' + "[" * 5_000, id="nested deeply"),
        pytest.param('"amount": "', f'"amount": "{2**128 - 1}", "_": "', id="amounts too large"),
    ],
)
def test_a_forged_export_is_not_imported(books: Path, tmp_path: Path, old: str, new: str) -> None:
    """With a hash that fits: no traceback, and nothing is left."""
    out = tmp_path / "books.jsonl"
    good("export", books, "--out", out)
    body, _, last = out.read_text(encoding="utf-8").rpartition('{"end"')
    assert old in body
    forged = body.replace(old, new).encode()
    end = {"end": True, "events": 10 if old else 11, "sha256": hashlib.sha256(forged).hexdigest()}
    out.write_bytes(forged + json.dumps(end).encode() + b"\n")
    assert last
    before = contents(tmp_path)
    result = run("import", tmp_path / "new", out)
    assert result.exit_code == 3, result.output
    assert contents(tmp_path) == before


def test_an_export_or_import_to_a_bad_place_is_wrong_use(books: Path, tmp_path: Path) -> None:
    """Nothing is written over, and nothing into the ledger."""
    out = tmp_path / "books.jsonl"
    good("export", books, "--out", out)
    before = contents(tmp_path)
    for arguments in (
        ("export", books, "--out", out),
        ("export", books, "--out", books / "export.jsonl"),
        ("export", books, "--out", books, "--format", "csv"),
        ("export", books, "--format", "csv"),
        ("export", books, "--json"),
        ("export", tmp_path / "none", "--out", tmp_path / "x"),
        ("import", books, out),
        ("import", tmp_path / "new", tmp_path / "none"),
        ("import", tmp_path / "new", out, "--dry-run"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
    assert contents(tmp_path) == before


def test_tables_in_csv_hold_everything(books: Path, tmp_path: Path) -> None:
    """Three files; numbers as they are; the refused one with its status."""
    (told,) = objects("export", books, "--format", "csv", "--out", tmp_path / "tables", "--json")
    assert (told["accounts"], told["transfers"], told["others"]) == (3, 6, 1)
    tables = {
        path.stem: list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for path in (tmp_path / "tables").iterdir()
    }
    assert [row["id"] for row in tables["accounts"]] == ["1", "2", str(2**100)]
    assert tables["accounts"][0]["user_data_128"] == str(2**127 + 1)
    transfers = tables["transfers"]
    assert [row["position"] for row in transfers] == ["4", "5", "6", "7", "8", "10"]
    assert (transfers[1]["amount"], transfers[1]["status"]) == (str(2**70), "CREATED")
    assert transfers[2]["status"] == "DEBIT_ACCOUNT_NOT_FOUND"
    assert (transfers[4]["flags"], transfers[4]["timeout"]) == ("pending", "2")
    assert [(row["event"], row["transfer_id"]) for row in tables["events"]] == [
        ("pending_expired", "14")
    ]
    by_position = {str(event["position"]): event for event in objects("log", books, "--json")}
    for row in (row for table in tables.values() for row in table):
        event = by_position[row["position"]]
        assert row["timestamp"] == event["timestamp"]
        assert row["timestamp_ns"] == str(event["timestamp_ns"])


def test_tables_in_parquet_hold_everything(books: Path, tmp_path: Path) -> None:
    """Ids as sixteen bytes that sort, amounts as decimals, times in nanoseconds."""
    pq = pytest.importorskip("pyarrow.parquet")
    good("export", books, "--format", "parquet", "--out", tmp_path / "tables")
    accounts, transfers, events = (
        pq.read_table(tmp_path / "tables" / f"{name}.parquet")
        for name in ("accounts", "transfers", "events")
    )
    ids = [int.from_bytes(id_, "big") for id_ in accounts["id"].to_pylist()]
    assert ids == [1, 2, 2**100]
    assert int.from_bytes(accounts["user_data_128"].to_pylist()[0], "big") == 2**127 + 1
    assert accounts["user_data_64"].to_pylist()[0] == 2**63
    assert str(transfers.schema.field("amount").type) == "decimal128(38, 0)"
    assert [int(amount) for amount in transfers["amount"].to_pylist()] == [5, 2**70, 5, 5, 5, 5]
    assert transfers["position"].to_pylist() == [4, 5, 6, 7, 8, 10]
    assert transfers["status"].to_pylist()[2] == "DEBIT_ACCOUNT_NOT_FOUND"
    assert transfers["timeout"].to_pylist() == [0, 0, 0, 0, 2, 100]
    logged = [event["timestamp_ns"] for event in objects("log", books, "--json")]
    assert transfers["timestamp"].cast("int64").to_pylist() == [*logged[3:8], logged[9]]
    assert events["transfer_id"].to_pylist() == [(14).to_bytes(16, "big")]


def test_an_amount_that_no_decimal_holds_is_told(books: Path, tmp_path: Path) -> None:
    """Nothing is rounded or cut, and nothing is left."""
    pytest.importorskip("pyarrow")
    with Ledger.open(books) as ledger:
        ledger.create_transfers([pay(20, amount=AMOUNT_MAX - 2**71)])
    result = run("export", books, "--format", "parquet", "--out", tmp_path / "tables")
    assert result.exit_code == 2
    assert "transfer 20 has an amount of" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["books"]


def test_a_damaged_ledger_ends_an_export_with_3(books: Path, tmp_path: Path) -> None:
    """The file has not got its name."""
    damaged = min((books / "segments").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    for options in ((), ("--format", "csv")):
        result = run("export", books, "--out", tmp_path / "out", *options)
        assert result.exit_code == 3
        assert str(damaged) in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["books"]


def test_an_interrupted_import_of_an_export_leaves_nothing(books: Path, tmp_path: Path) -> None:
    """No ledger, and no remains."""
    good("export", books, "--out", tmp_path / "x")
    done = interrupted(signal.SIGINT, "import", str(tmp_path / "new"), str(tmp_path / "x"))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "nostro: interrupted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books", "x"]


def test_an_export_takes_part_beside_a_writer(books: Path, tmp_path: Path) -> None:
    """No lock; it ends where the ledger was durable when it began."""
    with Ledger.open(books) as ledger:
        ledger.create_transfers([pay(30)])
        good("export", books, "--out", tmp_path / "x")
        assert lines(tmp_path / "x")[0]["position"] == ledger.position
    assert journal.Reader(books).head().position == lines(tmp_path / "x")[0]["position"]


@pytest.mark.parametrize("events", ["Infinity", "NaN", "null", '"many"', "[]"])
def test_a_number_of_events_that_is_none_is_damage(
    books: Path, tmp_path: Path, events: str
) -> None:
    """Though everything else about the last line is right."""
    out = tmp_path / "books.jsonl"
    good("export", books, "--out", out)
    out.write_text(re.sub(r'"events": \d+', f'"events": {events}', out.read_text("utf-8")), "utf-8")
    result = run("import", tmp_path / "new", out)
    assert result.exit_code == 3, result.output


def test_an_export_with_events_of_a_wrong_clock_is_not_imported(tmp_path: Path) -> None:
    """The new ledger would refuse to write until the clock has caught up."""
    hour_ns = 3600 * 10**9
    with Ledger.open(tmp_path / "ahead", clock=lambda: time.time_ns() + hour_ns) as ledger:
        ledger.create_accounts([Account(id=1, ledger=1, code=1)])
    out = tmp_path / "ahead.jsonl"
    good("export", tmp_path / "ahead", "--out", out)
    before = contents(tmp_path)
    result = run("import", tmp_path / "new", out)
    assert (result.exit_code, "later than this machine's clock" in result.stderr) == (2, True)
    assert contents(tmp_path) == before
