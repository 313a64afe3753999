"""Rows: what each line of a file means, and why a bad one is bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from nostro import AccountFlags
from nostro.tools.importing.errors import SourceError
from nostro.tools.importing.ids import derived_id
from nostro.tools.importing.mapping_file import read_mapping
from nostro.tools.importing.rows import BadRow, Posting, RowReader
from nostro.tools.importing.source import Source
from nostro.tools.importing.survey import Survey

MAPPING = """\
namespace = "shop"
[file]
delimiter = ";"
[transfer]
key = "id"
ledger = 1
code = { column = "kind", values = { fee = 9 }, default = 7 }
user_data_128 = { column = "note", as = "hash" }
user_data_64 = { column = "ref" }
user_data_32 = { column = "bank", as = "text" }
[amount]
column = "amount"
scale = 2
[customer]
column = "customer"
code = 10
flags = ["debits_must_not_exceed_credits"]
[direction]
column = "kind"
credit = "in"
debit = ["out", "fee"]
[counter.accounts]
cash = { id = 900, code = 20 }
fees = { code = 21 }
big = { code = 22 }
[[counter.rules]]
when = { kind = "fee" }
account = "fees"
[[counter.rules]]
when = { kind = "out", bank = ["AB", "CD"] }
account = "big"
[[counter.rules]]
when = { kind = ["in", "out"], bank = "" }
account = "cash"
"""
HEADER = "id;customer;kind;amount;note;ref;bank\n"


def read(tmp_path: Path, mapping: str, data: str | bytes) -> list[Posting | BadRow]:
    (tmp_path / "m.toml").write_text(mapping, encoding="utf-8")
    encoded = data if isinstance(data, bytes) else data.encode()
    (tmp_path / "data").write_bytes(encoded)
    rule = read_mapping(tmp_path / "m.toml")
    used = [column for column, _ in rule.columns()]
    with (
        Source(tmp_path / "data", rule.file, columns_used=used) as source,
        Survey(source.rows(), RowReader(rule, source.columns), rule) as survey,
    ):
        return list(survey)


def one(tmp_path: Path, row: str, mapping: str = MAPPING) -> Posting:
    (posting,) = read(tmp_path, mapping, HEADER + row + "\n")
    assert isinstance(posting, Posting), str(posting)
    return posting


def bad(tmp_path: Path, row: str, mapping: str = MAPPING) -> BadRow:
    (found,) = read(tmp_path, mapping, HEADER + row + "\n")
    assert isinstance(found, BadRow)
    return found


def test_a_row_becomes_a_posting_with_everything_the_mapping_says(tmp_path: Path) -> None:
    """Money that goes to the customer credits their account and debits the other side."""
    posting = one(tmp_path, "r1; 42 ;in;12.30;hello;77;")
    assert posting.id == derived_id("shop", "transfer", "r1")
    assert (posting.debit.id, posting.credit.id, posting.amount) == (900, 42, 1230)
    assert posting.credit.flags == AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
    assert (posting.debit.code, posting.credit.code, posting.code, posting.ledger) == (20, 10, 7, 1)
    assert posting.user_data_128 == derived_id("shop", "data", "hello")
    assert posting.user_data_64 == 77


def test_money_that_leaves_the_customer_debits_their_account(tmp_path: Path) -> None:
    """The other direction, a code of its own, and a counter-account whose id is its name's hash."""
    posting = one(tmp_path, "r1;42;fee;1;;;YZ")
    assert (posting.debit.id, posting.credit.id) == (42, derived_id("shop", "counter", "fees"))
    assert (posting.code, posting.user_data_128, posting.user_data_64) == (9, 0, 0)
    assert posting.user_data_32 == int.from_bytes(b"YZ", "big")


def test_the_first_rule_that_matches_chooses_the_counter_account(tmp_path: Path) -> None:
    """All conditions of a rule hold, any of the values of a condition does."""
    assert one(tmp_path, "r1;42;out;1;;;CD").credit.code == 22
    assert one(tmp_path, "r1;42;out;1;;;").credit.code == 20
    assert bad(tmp_path, "r1;42;in;1;;;XX").reason == "no rule chooses a counter-account"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("r1;42;in;;;;", "line 2: amount is empty"),
        ("r1;42;in;1.005;;;", "line 2: amount has more than 2 decimals: '1.005'"),
        ("r1;42;in;-1;;;", "line 2: amount is negative: '-1'"),
        ("r1;42;in;NaN;;;", "line 2: amount is not a finite number: 'NaN'"),
        ("r1;42;up;1;;;", "line 2: direction is neither credit nor debit: kind='up'"),
        (";42;in;1;;;", "line 2: key is empty"),
        ("r1;;in;1;;;", "line 2: account is empty: in column 'customer'"),
        ("r1;0;in;1;;;", "line 2: account id is not from 1 to 2**128 - 2: '0'"),
        ("r1;x;in;1;;;", "line 2: account id is not from 1 to 2**128 - 2: 'x'"),
        ("r1;900;in;1;;;", "line 2: account id is that of a counter-account: 900"),
        ("r1;42;in;1;;-7;", "line 2: user data is not an integer of 64 bits: ref='-7'"),
        ("r1;42;in;1;;18446744073709551616;", "line 2: user data is not an integer of 64 bits"),
        ("r1;42;fee;1;;;ABCDE", "line 2: user data is longer than 4 bytes: bank='ABCDE'"),
        ("r1;42;in;1;;", "line 2: wrong number of columns: 6, where the file has 7"),
        ('r1;42;in;1;"a"b;;', "line 2: not CSV as the mapping describes it"),
    ],
)
def test_a_bad_row_is_named_by_line_and_reason(tmp_path: Path, row: str, told: str) -> None:
    """One row is refused, for one reason, and the reason shows what was found."""
    assert str(bad(tmp_path, row)).startswith(told)


def test_lines_are_those_of_the_file_even_when_cells_have_several(tmp_path: Path) -> None:
    """Blank lines and quoted line breaks do not shift what an editor shows."""
    found = read(tmp_path, MAPPING, HEADER + 'r1;1;in;1;"two\nlines";;\n\nr2;2;in;x;;;\n')
    assert [getattr(item, "line", None) for item in found[1:]] == [5]


def test_undecodable_bytes_spoil_their_own_row_only(tmp_path: Path) -> None:
    """Half a Latin-1 file read as UTF-8 tells which rows, and keeps the others."""
    data = HEADER.encode() + b"r1;1;in;1;caf\xe9;;\nr2;2;in;1;ok;;\n"
    first, second = read(tmp_path, MAPPING, data)
    assert isinstance(first, BadRow)
    assert first.reason == "bytes that are not utf-8 text"
    assert isinstance(second, Posting)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    """What spreadsheets put before a file is passed over."""
    found = read(tmp_path, MAPPING, b"\xef\xbb\xbf" + HEADER.encode() + b"r1;1;in;1;;;\n")
    assert isinstance(found[0], Posting)


def test_an_empty_file_is_told_as_such(tmp_path: Path) -> None:
    """Not even a header is another thing than no rows."""
    with pytest.raises(SourceError, match="not even a header"):
        read(tmp_path, MAPPING, "")
    assert read(tmp_path, MAPPING, HEADER) == []


def test_json_lines_keep_every_digit(tmp_path: Path) -> None:
    """Numbers never pass through a float, nested keys are joined by dots, missing ones empty."""
    mapping = MAPPING.replace('delimiter = ";"', 'format = "jsonl"').replace(
        'column = "amount"', 'column = "amount.value"'
    )
    found = read(
        tmp_path,
        mapping,
        '{"id": 1, "customer": 340282366920938463463374607431768211454, "kind": "in",'
        ' "amount": {"value": 90071992547409930.01}, "note": null, "ref": 5, "bank": ""}\n'
        "\n"
        '{"id": 2, "customer": 7, "kind": "in", "amount": {"value": NaN}}\n'
        '{"id": 2, "id": 3}\n'
        "[1]\n",
    )
    assert isinstance(found[0], Posting)
    assert (found[0].amount, found[0].credit.id) == (9007199254740993001, 2**128 - 2)
    assert [str(item) for item in found[1:]] == [
        "line 3: amount is not a finite number: 'NaN'",
        "line 4: not a JSON object: the key 'id' appears twice",
        "line 5: not a JSON object: a line must be one object in braces",
    ]


@pytest.mark.parametrize(
    ("text", "units"),
    [("1.234,56", 123456), ("1234,5", 123450), ("-7", None), ("1.23,4", None), ("1.5", None)],
)
def test_other_countries_marks_are_read_strictly(
    tmp_path: Path, text: str, units: int | None
) -> None:
    """A group is three digits; anything else is refused, not guessed."""
    mapping = MAPPING.replace("scale = 2", 'scale = 2\ndecimal_mark = ","\ngroup_mark = "."')
    (found,) = read(tmp_path, mapping, HEADER + f"r1;1;in;{text};;;\n")
    assert (found.amount if isinstance(found, Posting) else None) == units


def test_the_sign_may_decide_the_direction(tmp_path: Path) -> None:
    """Negative amounts are then debits of the customer, and nothing is refused for its sign."""
    start, end = MAPPING.index("[direction]"), MAPPING.index("[counter.accounts]")
    mapping = MAPPING[:start] + "[direction]\nfrom_sign = true\n" + MAPPING[end:]
    plus, minus = read(tmp_path, mapping, HEADER + "r1;1;in;5;;;\nr2;1;in;-5;;;\n")
    assert isinstance(plus, Posting)
    assert isinstance(minus, Posting)
    assert (plus.credit.id, plus.amount) == (minus.debit.id, minus.amount) == (1, 500)


def test_one_name_in_two_ledgers_is_two_accounts(tmp_path: Path) -> None:
    """A ledger per currency: an account belongs to one of them."""
    mapping = MAPPING.replace(
        "ledger = 1", 'ledger = { column = "note", values = { EUR = 978, CZK = 203 } }'
    ).replace("id = 900, ", "")
    eur, czk, none = read(
        tmp_path, mapping, HEADER + "r1;1;in;5;EUR;;\nr2;2;in;5;CZK;;\nr3;3;in;5;USD;;\n"
    )
    assert isinstance(eur, Posting)
    assert isinstance(czk, Posting)
    assert (eur.ledger, czk.ledger) == (978, 203)
    assert eur.debit.id != czk.debit.id
    assert str(none) == "line 4: no ledger for this value: note='USD'"


def test_sorting_is_stable_and_tells_bad_rows_first(tmp_path: Path) -> None:
    """Rows of one day keep the order of the file."""
    mapping = MAPPING + '[date]\ncolumn = "note"\nformat = "%Y-%m-%d"\nsort = true\n'
    rows = "a;1;in;1;2001-01-02;;\nb;1;in;1;2001-01-01;;\nc;1;in;1;x;;\nd;1;in;1;2001-01-02;;\n"
    found = read(tmp_path, mapping, HEADER + rows)
    order = [item.row.cells[0] if isinstance(item, Posting) else "bad" for item in found]
    assert order == ["bad", "b", "a", "d"]


def test_a_file_without_a_header_takes_its_columns_from_the_mapping(tmp_path: Path) -> None:
    """The first line is then a row."""
    names = '["id", "customer", "kind", "amount", "note", "ref", "bank"]'
    mapping = MAPPING.replace('delimiter = ";"', f'delimiter = ";"\ncolumns = {names}\nquote = ""')
    (posting,) = read(tmp_path, mapping, 'r1;1;in;1;"a;;\n')
    assert isinstance(posting, Posting)
