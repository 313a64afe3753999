"""Records of commands, written into a journal as they are: no ledger writes them yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs

from nostro import Account, RecordKind, Transfer, TransferCreated, TransferFlags, Writer
from nostro.journal import AccountCreated, CommandExecuted, EventRecorded, Origin
from nostro.journal.format import codec
from nostro.journal.format.events import Event, encode_domain_event
from nostro.journal.rows import account_rows, transfer_rows

FIRST: Final = 10**18
ORIGIN: Final = Origin(actor="api:shop", key="order-17", request_id="r", correlation_id="c")
DATA: Final = {"a": [1, b"\x00\xff", None, True], "n": 2**63, "m": {"x": "ü"}}


def account(id_: int) -> Account:
    return Account(id=id_, ledger=1, code=1)


def transfer(id_: int, amount: int, flags: TransferFlags = TransferFlags.NONE) -> Transfer:
    return Transfer(id=id_, debit_account_id=1, credit_account_id=2, amount=amount, ledger=1,
                    code=7, flags=flags)  # fmt: skip


def recorded(name: str) -> EventRecorded:
    return EventRecorded(0, 0, f"shop.{name}", 1, DATA, ORIGIN)


def executed(count: int) -> CommandExecuted:
    return CommandExecuted(0, 0, count, bytes(range(32)), ["answer", 2**60], ORIGIN)


Command = tuple[list[Account], list[Transfer], list[EventRecorded | CommandExecuted]]

COMMANDS: Final[list[list[Command]]] = [
    [([account(1), account(2)], [transfer(11, 5)], [recorded("opened"), executed(5)])],
    [
        ([], [transfer(id_, id_) for id_ in range(100, 103)], [recorded("paid")]),
        ([account(3)], [], [recorded("opened")]),
        ([], [transfer(200, 1, flags=TransferFlags.PENDING)], []),
        ([], [], [recorded("noted"), recorded("noted")]),
        ([], [transfer(id_, 1) for id_ in range(1_000, 1_600)], [executed(601)]),
    ],
]
"""Of two frames."""


def append(
    path: Path,
    frames: list[list[Command]],
    *,
    kind: RecordKind = RecordKind.COMMANDS,
    event_count: int | None = None,
    segment_bytes_max: int = 8192,
) -> list[Event]:
    """Write the commands, a frame each; what was written, by position."""
    written: list[Event] = []
    writer = Writer.open(path, segment_bytes_max=segment_bytes_max)
    try:
        at = max(FIRST, writer.head.timestamp)
        position = writer.head.position
        for commands in frames:
            accounts: list[Account] = []
            transfers: list[Transfer] = []
            stored: list[dict[str, Any]] = []
            counts: list[int] = []
            begun = at + 1
            for of_accounts, of_transfers, events in commands:
                counts += [len(of_accounts), len(of_transfers), len(events)]
                for one in (*of_accounts, *of_transfers, *events):
                    at, position = at + 1, position + 1
                    timed: Any = attrs.evolve(one, timestamp=at)
                    if isinstance(timed, Account):
                        accounts.append(timed)
                        written.append(AccountCreated(position, at, timed))
                    elif isinstance(timed, Transfer):
                        transfers.append(timed)
                        written.append(TransferCreated(position, at, timed))
                    else:
                        event = attrs.evolve(timed, position=position)
                        stored.append(encode_domain_event(event))
                        written.append(event)
            payload = codec.encode_commands(
                account_rows(accounts), transfer_rows(transfers), stored, counts
            )
            queued = writer.append(
                payload,
                kind=kind,
                event_count=sum(counts) if event_count is None else event_count,
                timestamp_min=begun,
                timestamp_max=at,
                generation=writer.generation,
            )
            assert queued is not None
            writer.wait(queued)
    finally:
        writer.close()
    return written
