"""A ledger over HTTP answers as the ledger does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from nostro import Ledger, LedgerClosed, Reader
from nostro.tools.server.application import BODY_BYTES_MAX
from nostro.tools.server.operations import OPERATIONS
from tests.clocks import HandClock
from tests.serving import ACCOUNTS, DESCRIPTION, Served, served, transfer


def test_the_description_is_sound_and_describes_every_route(tmp_path: Path) -> None:
    """OpenAPI 3.1 by its own schema; nothing is served that is not in it, and the other way."""
    OpenAPIV31SpecValidator(DESCRIPTION).validate()
    described = {
        (method.upper(), path)
        for path, methods in DESCRIPTION["paths"].items()
        for method in methods
    }
    with served(tmp_path / "ledger") as it:
        assert it.good("GET", "/openapi.json") == DESCRIPTION
        routes = {
            (method, route.path)
            for route in it.app.routes
            if isinstance(route, Route) and route.methods is not None
            for method in route.methods - {"HEAD"}
        }
    assert routes == described
    names = [method["operationId"] for path in DESCRIPTION["paths"].values()
             for method in path.values()]  # fmt: skip
    assert len(set(names)) == len(names)


def test_every_operation_gives_what_the_description_says(tmp_path: Path) -> None:
    """A good answer of each, which is held against its schema as all answers of all tests are."""
    with served(tmp_path / "ledger") as it:
        history = {"id": 3, "ledger": 1, "code": 1, "flags": ["history"]}
        it.good("POST", "/accounts", [*ACCOUNTS, history])
        it.good("POST", "/transfers", [transfer(7), transfer(8, credit_account_id=3)])
        assert [one["id"] for one in it.good("POST", "/accounts/lookup", ["3", 99, 1])] == [
            "3",
            "1",
        ]
        assert [one["id"] for one in it.good("POST", "/transfers/lookup", [8, 99])] == ["8"]
        assert len(it.good("POST", "/accounts/query", {"limit": 2, "code": "1"})) == 2
        latest = it.good("POST", "/transfers/query", {"flags": ["reversed"]})
        assert [one["id"] for one in latest] == ["8", "7"]
        assert it.good("GET", "/transfers/7")["amount"] == "5"
        assert [one["id"] for one in it.good("GET", "/accounts/1/transfers?flags=debits")] == [
            "7",
            "8",
        ]
        assert [one["credits_posted"] for one in it.good("GET", "/accounts/3/balances")] == ["5"]
        assert it.good("GET", "/accounts/2")["credits_posted"] == "5"
        assert it.good("GET", "/health") == {"status": "ok", "position": 5, "mirror": None}
        assert it.good("GET", "/ready") == {"ready": True}
        assert it.ask("GET", "/metrics").status_code == 200
        good = {(method, path) for method, path, status in it.seen if status == 200}
        assert good - {("GET", "")} == {(each.method, each.path) for each in OPERATIONS}


def test_statuses_are_answers_in_order_and_one_request_is_one_record(tmp_path: Path) -> None:
    """A chain that breaks takes nothing with it; the same request again creates nothing."""
    linked = ["linked"]
    batch = [transfer(1), transfer(2, flags=linked), transfer(3, debit_account_id=404), transfer(4)]
    with served(tmp_path / "ledger") as it:
        it.begin()
        first = it.good("POST", "/transfers", batch)
        again = it.good("POST", "/transfers", batch)
        assert it.good("POST", "/transfers", []) == []
    statuses = ["CREATED", "LINKED_EVENT_FAILED", "DEBIT_ACCOUNT_NOT_FOUND", "CREATED"]
    assert [result["status"] for result in first] == statuses
    assert [again[0]["status"], again[3]["status"]] == ["EXISTS", "EXISTS"]
    assert again[0] == {"timestamp": first[0]["timestamp"], "status": "EXISTS"}
    assert [record.header.event_count for record in Reader(tmp_path / "ledger").records()] == [2, 3]


def test_a_list_holds_as_much_as_a_request(tmp_path: Path) -> None:
    """8,189, whatever limit is asked for."""
    with served(tmp_path / "ledger") as it:
        it.begin()
        for first in (1, 8_001):
            it.good("POST", "/transfers", [transfer(n) for n in range(first, first + 8_000)])
        assert len(it.good("POST", "/transfers/query", {"limit": 10_000})) == 8_189
        assert len(it.good("GET", "/accounts/1/transfers")) == 8_189


def test_large_values_come_back_as_they_went_in(tmp_path: Path) -> None:
    """As numbers or as strings, up to 128 bits."""
    largest = 2**128 - 2
    with served(tmp_path / "ledger") as it:
        it.good("POST", "/accounts", [
            {"id": str(largest), "user_data_128": largest, "ledger": 2**32 - 1, "code": 65_535},
            {"id": largest - 1, "user_data_64": str(2**64 - 1), "ledger": 2**32 - 1, "code": 1},
        ])  # fmt: skip
        it.good("POST", "/transfers", [
            {"id": 1, "debit_account_id": largest, "credit_account_id": str(largest - 1),
             "amount": largest, "ledger": str(2**32 - 1), "code": 1},
        ])  # fmt: skip
        account = it.good("GET", f"/accounts/{largest}")
    assert account["id"] == account["user_data_128"] == account["debits_posted"] == str(largest)
    assert (account["ledger"], account["code"]) == (2**32 - 1, 65_535)


def test_an_account_is_shown_at_past_moments(tmp_path: Path) -> None:
    """By position, by nanoseconds, by RFC 3339; a moment that has not come is now."""
    clock = HandClock(10**18)
    with served(tmp_path / "ledger", clock=clock) as it:
        it.begin()
        clock.now = 2 * 10**18
        [paid] = it.good("POST", "/transfers", [transfer(1)])
        it.good("POST", "/transfers", [transfer(2)])
        moments = {
            "": "10", "?position=2": "0", "?position=3": "5", "?position=4": "10",
            f"?at={paid['timestamp']}": "5", f"?at={int(paid['timestamp']) - 1}": "0",
            "?at=2001-09-10": "0", "?at=2100-01-01T00:00:00Z": "10",
        }  # fmt: skip
        for moment, credits in moments.items():
            assert it.good("GET", f"/accounts/2{moment}")["credits_posted"] == credits, moment
        assert it.refused("GET", "/accounts/2?at=2001-01-01")["status"] == 404
        assert it.refused("GET", "/accounts/2?position=5")["type"] == "out_of_range"
        assert it.refused("GET", "/accounts/2?position=1&at=1")["field"] == "position"
        assert it.refused("GET", "/accounts/2?position=-1")["field"] == "position"
        assert it.refused("GET", "/accounts/2?at=soon")["field"] == "at"
        assert it.refused("GET", "/accounts/2?position=1&position=2")["field"] == "position"
        assert it.refused("GET", "/accounts/2?when=1")["field"] == "when"


@pytest.mark.parametrize(
    ("body", "status", "type_", "field"),
    [
        (b"", 400, "invalid_json", None),
        (b'[{"id":1,"id":2}]', 400, "invalid_json", None),
        (b'[{"amount":NaN}]', 400, "invalid_json", None),
        (b"[" * 100_000, 400, "invalid_json", None),
        ({"transfers": []}, 400, "invalid_field", "Transfer"),
        ([transfer(1), transfer(2, amount=1.5)], 400, "invalid_field", "amount"),
        ([transfer(1), transfer(2, amount=-1)], 400, "invalid_field", "amount"),
        ([transfer(1), transfer(2, amount=2**128)], 400, "invalid_field", "amount"),
        ([transfer(1), transfer(2, code=65_536)], 400, "invalid_field", "code"),
        ([transfer(1), transfer(2, note="rent")], 400, "invalid_field", "note"),
        ([transfer(1), transfer(2, flags=["nice"])], 400, "invalid_field", "flags"),
        ([transfer(1), 2], 400, "invalid_field", "Transfer"),
        ([transfer(n) for n in range(1, 8_191)], 413, "batch_too_large", None),
        (b" " * (BODY_BYTES_MAX + 1), 413, "body_too_large", None),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_whole(
    tmp_path: Path, body: object, status: int, type_: str, field: str | None
) -> None:
    """Also the sound transfer that stands before it; the error names the field and the row."""
    with served(tmp_path / "ledger") as it:
        it.begin()
        error = it.refused("POST", "/transfers", body)
        assert (error["status"], error["type"], error.get("field")) == (status, type_, field)
        assert error["outcome"] == "nothing_written"
        if field not in {None, "Transfer"}:
            assert error["row"] == 1
            assert f"row 1: {field} " in error["message"]
        assert it.refused("GET", "/transfers/1")["status"] == 404


def test_a_body_without_a_length_is_counted(tmp_path: Path) -> None:
    """It is refused once it is too large, and read no further."""
    parts_sent = 0

    async def parts() -> AsyncGenerator[bytes, None]:
        nonlocal parts_sent
        for parts_sent in range(1, 100):  # noqa: B007 - counted for the test
            yield b" " * (1 << 20)

    with served(tmp_path / "ledger") as it:
        error = it.refused("POST", "/accounts", parts())
    assert (error["status"], error["type"]) == (413, "body_too_large")
    assert parts_sent < 99


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"},
     {"content-type": ""}, {"content-encoding": "gzip"}],
)  # fmt: skip
def test_a_body_must_say_that_it_is_json(tmp_path: Path, headers: dict[str, str]) -> None:
    """So that no form on a page of another site can post."""
    with served(tmp_path / "ledger") as it:
        error = it.refused("POST", "/accounts", ACCOUNTS, headers=headers)
        assert (error["status"], error["type"]) == (415, "unsupported_media_type")
        with_charset = {"content-type": "Application/JSON; charset=utf-8"}
        assert it.ask("POST", "/accounts", ACCOUNTS, headers=with_charset).status_code == 200


def test_what_is_not_there_is_told_as_json(tmp_path: Path) -> None:
    """Paths, methods, accounts and ids."""
    with served(tmp_path / "ledger") as it:
        for method, path, status in (
            ("GET", "/", 404), ("GET", "/accounts/", 404), ("GET", "/accounts", 405),
            ("DELETE", "/accounts/1", 405), ("GET", "/accounts/1", 404),
            ("GET", "/transfers/1", 404), ("GET", "/accounts/0x1", 400),
            ("GET", f"/accounts/{2**128}", 400), ("GET", "/transfers/1?at=1", 400),
            ("GET", "/accounts/1/transfers?limit=x", 400), ("PUT", "/metrics", 405),
        ):  # fmt: skip
            assert it.refused(method, path)["status"] == status, path
        assert it.good("GET", "/accounts/1/transfers") == []
        assert it.good("GET", "/accounts/1/balances") == []
        it.begin()
        assert it.good("GET", "/accounts/1/transfers?limit=0") == []


def test_a_transfer_that_was_refused_for_good_is_told_with_its_reason(tmp_path: Path) -> None:
    """Its id answers ID_ALREADY_FAILED from then on."""
    with served(tmp_path / "ledger") as it:
        it.begin()
        wrong = transfer(7, debit_account_id="404")
        [first] = it.good("POST", "/transfers", [wrong])
        assert it.good("POST", "/transfers", [wrong])[0]["status"] == "ID_ALREADY_FAILED"
        refused = json.dumps(it.refused("GET", "/transfers/7"))
    assert "DEBIT_ACCOUNT_NOT_FOUND" in refused
    assert first["timestamp"] in refused


def test_a_chain_that_happened_before_is_told_from_one_that_failed(tmp_path: Path) -> None:
    """TigerBeetle's statuses are the same for both; what is beside them is not."""
    linked = ["linked"]
    chain = [transfer(1, flags=linked), transfer(2)]
    statuses: list[dict[str, object]] = [{"status": "EXISTS"}, {"status": "LINKED_EVENT_FAILED"}]
    account: dict[str, object] = {"ledger": 1, "code": 1}
    accounts = [{"id": 8, "flags": linked, **account}, {"id": 9, **account}]

    def again(path: str, events: list[dict[str, object]]) -> list[dict[str, object]]:
        results = it.good("POST", path, events)
        return [{name: one[name] for name in one if name != "timestamp"} for one in results]

    with served(tmp_path / "ledger") as it:
        it.begin()
        for path, events in (("/transfers", chain), ("/accounts", accounts)):
            assert again(path, events) == [{"status": "CREATED"}] * 2
            assert again(path, events) == [{**one, "chain_exists": True} for one in statuses]
            other = [events[0], {**events[1], "code": 7}]
            assert again(path, other) == [{**one, "chain_exists": False} for one in statuses]
            both = again(path, [*events, *other, {**events[1], "id": 10}])
            assert [one.get("chain_exists") for one in both] == [True, True, False, False, None]
        missing = transfer(4, flags=linked), transfer(5, credit_account_id=404)
        assert "chain_exists" not in again("/transfers", list(missing))[0], "it breaks elsewhere"


def test_an_id_that_has_failed_is_answered_with_its_first_status(tmp_path: Path) -> None:
    """At most sixty-four ids of one request, so that no request takes long."""
    good, bad = transfer(1), transfer(2, credit_account_id=404)
    many = [transfer(id_, debit_account_id=404) for id_ in range(100, 170)]
    with served(tmp_path / "ledger") as it:
        it.begin()
        first = it.good("POST", "/transfers", [good, bad])
        assert [one["status"] for one in first] == ["CREATED", "CREDIT_ACCOUNT_NOT_FOUND"]
        again = it.good("POST", "/transfers", [bad, good, bad])
        failed = {"status": "ID_ALREADY_FAILED", "first_status": "CREDIT_ACCOUNT_NOT_FOUND"}
        assert [{**one, "timestamp": ""} for one in again] == [
            {"timestamp": "", **one} for one in (failed, {"status": "EXISTS"}, failed)
        ]
        it.good("POST", "/transfers", many)
        shown = [one.get("first_status") for one in it.good("POST", "/transfers", many)]
        assert shown == ["DEBIT_ACCOUNT_NOT_FOUND"] * 64 + [None] * 6


def test_what_is_beside_a_status_never_makes_a_written_request_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger may be closed, or the disk may fail, between the writing and the reading."""
    chain = [transfer(1, flags=["linked"]), transfer(2), transfer(3, credit_account_id=404)]

    def fail(ledger: Ledger, _: object) -> NoReturn:
        raise LedgerClosed(ledger.path)

    with served(tmp_path / "ledger") as it:
        it.begin()
        it.good("POST", "/transfers", chain)
        # private: no public call fails between the two
        monkeypatch.setattr(Ledger, "lookup_transfers", fail)
        results = it.good("POST", "/transfers", [*chain, transfer(4)])
        expected = ["EXISTS", "LINKED_EVENT_FAILED", "ID_ALREADY_FAILED", "CREATED"]
        assert [one["status"] for one in results] == expected


def test_metrics_count_requests_and_events(tmp_path: Path) -> None:
    """By route and not by path; what somebody makes up becomes no label."""
    with served(tmp_path / "ledger") as it:
        it.begin()
        it.good("POST", "/transfers", [transfer(1), transfer(1), transfer(2, ledger=9)])
        for id_ in (1, 2, 3):
            it.ask("GET", f"/accounts/{id_}")
        it.ask("GET", "/made/up")
        it.ask("BREW", "/coffee")
        samples = samples_of(it)
    route = ("nostro_http_requests_total", "GET", "/accounts/{id}")
    assert (samples[*route, "200"], samples[*route, "404"]) == (2, 1)
    assert samples["nostro_http_requests_total", "GET", "", "404"] == 1
    assert samples["nostro_http_requests_total", "other", "", "404"] == 1
    assert samples["nostro_http_request_seconds_count", "GET", "/accounts/{id}"] == 3
    assert samples["nostro_events_total", "transfer", "CREATED"] == 1
    assert samples["nostro_events_total", "transfer", "EXISTS"] == 1
    assert samples["nostro_events_total", "account", "CREATED"] == 2
    assert samples["nostro_position",] == 3
    assert samples["nostro_accounts",] == 2
    assert samples["nostro_transfers",] == 1
    assert samples["nostro_writable",] == 1
    assert not any("made" in label for sample in samples for label in sample)


def samples_of(it: Served) -> dict[tuple[str, ...], float]:
    """(name, the values of its labels but "le") -> value."""
    families = text_string_to_metric_families(it.ask("GET", "/metrics").text)
    return {
        (sample.name, *(sample.labels[name] for name in ("method", "route", "kind", "status")
                        if name in sample.labels)): sample.value
        for family in families
        for sample in family.samples
        if "le" not in sample.labels
    }  # fmt: skip


JSON_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**128) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "flags", "amount", "code", "limit", "\ud800"]) | st.text(), inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def test_whatever_is_posted_is_answered_or_refused(tmp_path: Path) -> None:
    """By what the description says, and never by an error of ours."""
    paths = [operation.path for operation in OPERATIONS if operation.body is not None]
    with served(tmp_path / "ledger") as it:

        @given(st.sampled_from(paths), JSON_VALUES | st.binary(max_size=40))
        def post(path: str, body: object) -> None:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            assert it.ask("POST", path, sent).status_code in {200, 400}

        post()


def test_fifty_at_once_lose_nothing(tmp_path: Path) -> None:
    """And share records."""

    async def all_of(it: Served) -> list[str]:
        answers = await asyncio.gather(
            *(it.asking("POST", "/transfers", [transfer(n)]) for n in range(1, 501))
        )
        return [answer.json()[0]["status"] for answer in answers]

    with served(tmp_path / "ledger") as it:
        it.begin()
        assert it.runner.run(all_of(it)) == ["CREATED"] * 500
    with Ledger.open(tmp_path / "ledger", read_only=True) as ledger:
        assert ledger.transfer_count == 500
    assert len(list(Reader(tmp_path / "ledger").records())) < 400
