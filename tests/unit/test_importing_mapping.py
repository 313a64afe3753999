"""Mapping files: what is right is read, and every fault is named with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nostro import AccountFlags
from nostro.tools.importing.errors import MappingError
from nostro.tools.importing.mapping import AccountRule, Counters
from nostro.tools.importing.mapping_file import check_columns, read_mapping

MINIMAL = """\
namespace = "shop"

[transfer]
key = "id"
ledger = 1
code = 7

[amount]
column = "amount"
scale = 2

[customer]
column = "customer"
code = 10

[direction]
column = "kind"
credit = "in"
debit = ["out", "fee"]

[counter]
default = "cash"

[counter.accounts]
cash = { code = 20 }
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(MappingError) as caught:
        read_mapping(write(tmp_path, text))
    return [str(problem).replace(str(tmp_path) + "/", "") for problem in caught.value.problems]


def test_what_is_not_said_has_a_plain_meaning(tmp_path: Path) -> None:
    """Comma-separated UTF-8 with a header, no dates, integer ids, no flags."""
    mapping = read_mapping(write(tmp_path, MINIMAL))
    assert (mapping.file.format, mapping.file.csv_marks) == ("csv", (",", '"'))
    assert mapping.date is None
    assert mapping.transfer.key == ("id",)
    assert mapping.direction is not None
    assert mapping.direction.credit == {"in"}
    assert mapping.customer.flags == AccountFlags.NONE
    assert isinstance(mapping.counter, Counters)
    assert mapping.counter.default == "cash"


def test_the_mapping_of_the_guide_is_right() -> None:
    """The example that everybody copies is a valid mapping."""
    path = Path(__file__).parents[2] / "docs" / "guides" / "berka" / "berka.toml"
    mapping = read_mapping(path)
    assert mapping.date is not None
    assert isinstance(mapping.counter, Counters)
    assert len(mapping.counter.accounts) == 5


def test_the_snippets_of_the_guide_are_a_mapping_when_put_together(tmp_path: Path) -> None:
    """What the guide explains table by table can be copied as it stands."""
    guide = Path(__file__).parents[2] / "docs" / "guides" / "import.md"
    snippets = re.findall(r"```toml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    *example, alternative = snippets
    mapping = read_mapping(write(tmp_path, "\n".join(example)))
    assert mapping.namespace == "berka"
    other = read_mapping(write(tmp_path, "\n".join([*example[:-1], alternative])))
    assert isinstance(other.counter, AccountRule)


def test_the_other_side_may_be_a_column(tmp_path: Path) -> None:
    """A file that names both accounts needs no rules."""
    text = (
        MINIMAL[: MINIMAL.index("[counter]")] + '[counter]\ncolumn = "to"\nid = "hash"\ncode = 3\n'
    )
    assert isinstance(read_mapping(write(tmp_path, text)).counter, AccountRule)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'key = "id"',
            'kee = "id"',
            "m.toml:4: unknown key 'kee' in [transfer] (did you mean 'key'?)",
        ),
        ('key = "id"', 'kee = "id"', "m.toml:3: transfer.key is missing"),
        (
            "[amount]",
            "[amuont]",
            "m.toml:8: unknown key 'amuont' in [the file] (did you mean 'amount'?)",
        ),
        ("[amount]", "[amuont]", "m.toml: the table [amount] is missing"),
        (
            "scale = 2",
            "scale = 2.0",
            "m.toml:10: amount.scale must be an integer from 0 to 38, not 2.0",
        ),
        (
            "scale = 2",
            "scale = true",
            "m.toml:10: amount.scale must be an integer from 0 to 38, not True",
        ),
        (
            "ledger = 1",
            "ledger = 0",
            "m.toml:5: transfer.ledger must be an integer from 1 to 4294967295, not 0",
        ),
        (
            "code = 7",
            "code = 70000",
            "m.toml:6: transfer.code must be an integer from 1 to 65535, not 70000",
        ),
        (
            'credit = "in"',
            'credit = "out"',
            "m.toml:19: direction.credit and direction.debit must not both hold 'out'",
        ),
        (
            'default = "cash"',
            'default = "kash"',
            "m.toml:22: no counter account is named 'kash' (did you mean 'cash'?)",
        ),
        (
            "cash = { code = 20 }",
            "cash = { cod = 20 }",
            "m.toml:25: unknown key 'cod' in [counter.accounts.cash] (did you mean 'code'?)",
        ),
        (
            "code = 10",
            'code = 10\nflags = ["histroy"]',
            (
                "m.toml:15: customer.flags must be one of history, debits_must_not_exceed_credits,"
                " credits_must_not_exceed_debits; not 'histroy' (did you mean 'history'?)"
            ),
        ),
        (
            "code = 10",
            (
                'code = 10\nflags = ["debits_must_not_exceed_credits",'
                ' "credits_must_not_exceed_debits"]'
            ),
            "m.toml:15: customer.flags must hold one of the two limits at most",
        ),
        (
            "code = 7",
            'code = { column = "c", values = { A = 0 } }',
            "m.toml:6: transfer.code.values.A must be an integer from 1 to 65535, not 0",
        ),
        (
            "[counter.accounts]",
            '[[counter.rules]]\nwhen = { kind = 5 }\naccount = "cash"\n[counter.accounts]',
            "m.toml:25: counter.rules.when.kind must be text, not 5",
        ),
        (
            "[counter.accounts]",
            '[[counter.rules]]\nwhen = {}\naccount = "cash"\n[counter.accounts]',
            "m.toml:25: a rule without a condition matches every row: use counter.default",
        ),
        (
            'namespace = "shop"',
            'namespace = "shop"\nfile = "csv"',
            "m.toml:2: file must be a table, not 'csv'",
        ),
        (
            'credit = "in"',
            'credit = "in"\nfrom_sign = true',
            "m.toml:17: direction.column and direction.from_sign exclude each other",
        ),
        (
            "code = 10",
            'code = 10\nid = "text"',
            "m.toml:15: customer.id must be one of integer, hash; not 'text'",
        ),
        ('namespace = "shop"', "namespace = 5", "m.toml:1: namespace must be text, not 5"),
        ('namespace = "shop"', "", "m.toml: namespace is missing"),
        (
            "[transfer]",
            '[date]\ncolumn = "day"\nformat = "%H:%M"\n[transfer]',
            (
                "m.toml:5: date.format '%H:%M' is neither rfc3339, unix_s, unix_ms, unix_ns nor a"
                " strptime pattern with year, month and day"
            ),
        ),
        (
            "[transfer]",
            '[file]\ndelimiter = ";;"\n[transfer]',
            "m.toml:4: file.delimiter must be one character, not ';;'",
        ),
        (
            "[transfer]",
            '[file]\nformat = "xml"\n[transfer]',
            "m.toml:4: file.format must be one of csv, jsonl; not 'xml'",
        ),
        (
            "[transfer]",
            '[file]\nencoding = "utf-9"\n[transfer]',
            "m.toml:4: file.encoding 'utf-9' is not known to Python",
        ),
        (
            "code = 7",
            'code = 7\nuser_data_32 = { column = "x", as = "number" }',
            "m.toml:7: transfer.user_data_32.as must be one of integer, hash, text; not 'number'",
        ),
    ],
)
def test_a_fault_is_named_with_its_line_and_the_nearest_name(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    """Whoever mistypes is told where, and what was probably meant."""
    assert old in MINIMAL
    assert expected in problems(tmp_path, MINIMAL.replace(old, new, 1))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Nobody fixes a file one run per mistake."""
    text = MINIMAL.replace("scale = 2", "scal = 2").replace("ledger = 1", "ledger = -1")
    assert len(problems(tmp_path, text)) == 3


def test_faults_between_keys_are_told_beside_all_others(tmp_path: Path) -> None:
    """A table that cannot be read hides no fault: not in itself, and not in those around it."""
    text = (
        MINIMAL.replace("scale = 2", 'scal = 2\ngroup_mark = "."')
        .replace('key = "id"', "")
        .replace('credit = "in"', "credit = 5")
        .replace('default = "cash"', 'default = "kash"\nrule = 1')
        .replace("cash = { code = 20 }", "cash = { id = 5, code = 0 }\nbank = { id = 5 }")
    )
    text += '[file]\nformat = "jsonl"\ndelimiter = ";"\ntrimm = true\n'
    assert problems(tmp_path, text) == [
        "m.toml:3: transfer.key is missing",
        "m.toml:8: amount.scale is missing",
        "m.toml:10: unknown key 'scal' in [amount] (did you mean 'scale'?)",
        "m.toml:11: amount.group_mark must not be the decimal mark",
        "m.toml:19: direction.credit must be text, not 5",
        "m.toml:23: no counter account is named 'kash' (did you mean 'cash'?)",
        "m.toml:24: unknown key 'rule' in [counter] (did you mean 'rules'?)",
        "m.toml:27: counter.accounts.cash.code must be an integer from 1 to 65535, not 0",
        "m.toml:28: counter.accounts.bank.code is missing",
        "m.toml:28: the accounts 'cash' and 'bank' have the same id",
        "m.toml:31: file.delimiter is for CSV; JSON Lines has none",
        "m.toml:32: unknown key 'trimm' in [file] (did you mean 'trim'?)",
    ]


def test_a_single_rule_is_a_list_too(tmp_path: Path) -> None:
    """One pair of brackets would be a table in which the next rule overwrites the first."""
    rule = '[counter.rules]\nwhen = { kind = "in" }\naccount = "cash"\n[counter.accounts]'
    assert problems(tmp_path, MINIMAL.replace("[counter.accounts]", rule)) == [
        "m.toml:24: counter.rules must be a list of tables, [[counter.rules]]"
    ]


@pytest.mark.parametrize("text", ["[transfer\n", "a = \n"])
def test_what_is_not_toml_is_told_with_the_parsers_place(tmp_path: Path, text: str) -> None:
    """The parser's own line and column are passed on."""
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("m.toml: not a TOML file: ")
    assert "line" in problem


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a = " + "[" * 5_000, id="nested deeply"),
        pytest.param("a = " + "9" * 5_000, id="a very long number"),
    ],
)
def test_toml_that_is_too_much_is_told(tmp_path: Path, text: str) -> None:
    """What the parser itself stumbles over is no TOML file of ours."""
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("m.toml: not a TOML file: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("scale = 2", "scale = 0x" + "f" * 5_000, id="a number without end"),
        *[
            pytest.param("[transfer]", f"[file]\n{line}\n[transfer]", id=line)
            for line in (
                'encoding = "base64"',
                'encoding = "utf-9"',
                'encoding = "a\\u0000"',
                'delimiter = "\\n"',
                'delimiter = "\\r"',
                'delimiter = "\\u0000"',
                'quote = ","',
                'quote = "\\n"',
            )
        ],
        pytest.param(
            "[amount]", '[date]\ncolumn = "day"\nformat = "%d%d%m%Y"\n[amount]', id="a day twice"
        ),
    ],
)
def test_what_no_file_can_be_read_with_is_told_before_it_is(
    tmp_path: Path, old: str, new: str
) -> None:
    """Python's own readers would refuse it, or tell it apart from nothing."""
    assert old in MINIMAL
    assert len(problems(tmp_path, MINIMAL.replace(old, new))) == 1


def test_a_line_of_blanks_is_read_in_no_time(tmp_path: Path) -> None:
    """A bracket and many blanks look like the beginning of a table, in many ways."""
    text = MINIMAL.replace('default = "cash"', 'default = """\n[' + " " * 100_000 + '\n"""')
    assert any("no counter account is named" in one for one in problems(tmp_path, text))


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(MappingError, match=r"nowhere\.toml: No such file"):
        read_mapping(tmp_path / "nowhere.toml")


def test_an_unknown_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    """Columns are checked against the file before a row is read."""
    path = write(tmp_path, MINIMAL)
    with pytest.raises(MappingError) as caught:
        check_columns(path, read_mapping(path), ["id", "Amount", "customer", "kind"])
    assert [str(problem) for problem in caught.value.problems] == [
        f"{path}:9: the file has no column 'amount' (did you mean 'Amount'?)",
        f"{path}: the file's columns are id, Amount, customer, kind",
    ]


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    """Which of the two would be meant?"""
    path = write(tmp_path, MINIMAL)
    with pytest.raises(MappingError, match="more than one column 'amount'"):
        check_columns(path, read_mapping(path), ["id", "amount", "amount", "customer", "kind"])


def test_counter_accounts_keep_their_ids_apart(tmp_path: Path) -> None:
    """Two names with one id would be one account."""
    text = MINIMAL.replace(
        "cash = { code = 20 }", "cash = { id = 5, code = 20 }\nbank = { id = 5, code = 21 }"
    )
    assert "m.toml:26: the accounts 'cash' and 'bank' have the same id" in problems(tmp_path, text)


def test_a_given_id_needs_one_ledger(tmp_path: Path) -> None:
    """An account belongs to one ledger, so its id cannot stand for accounts in several."""
    text = MINIMAL.replace("ledger = 1", 'ledger = { column = "l", values = { A = 1 } }')
    text = text.replace("{ code = 20 }", "{ id = 5, code = 20 }")
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("m.toml:25: an account belongs to one ledger: leave the id out")


def test_a_rule_that_names_no_account_is_a_fault_like_any_other(tmp_path: Path) -> None:
    """What is missing is said; nothing is guessed for it."""
    text = MINIMAL.replace(
        "[counter]", '[[counter.rules]]\nwhen = { kind = ["fee"] }\n\n[counter]', 1
    )
    assert text != MINIMAL
    found = problems(tmp_path, text)
    assert any("account is missing" in one for one in found), found
