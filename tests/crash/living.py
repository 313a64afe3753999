"""A program whose disk fails, and that goes on as long as it may: the script, in a process.

A refused request is asked again, and a ledger that can no longer be written to is opened again.
What the program hears must be true: each answer, each error's kind, and what it reads in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import logging
import multiprocessing
import os
import resource
import traceback
from bisect import bisect_right
from pathlib import Path
from typing import Final, Protocol

import attrs

from nostro.journal.errors import JournalFull, NoRoomToRecover, WriterPoisoned
from nostro.journal.format.head import newest
from nostro.projections.ledger.ledger import Ledger
from tests.clocks import HandClock
from tests.crash.script import (
    CHECKPOINTS,
    REOPENED,
    REQUEST_NS,
    REQUESTS,
    START_NS,
    Truth,
    accounts,
    check_position,
    on_one_thread,
    open_ledger,
    transfers,
)
from tests.crash.small_disk import leave_room, make_roomy
from tests.ledgers import ACCOUNTS

FAILURES_MAX: Final = 3
"""So often the ledger is opened again after it failed."""
DESCRIPTORS_MAX: Final = 256


class Trouble(Protocol):
    """What is wrong with the program's surroundings for a time."""

    def begin(self) -> None: ...
    def end(self) -> None: ...


@attrs.frozen
class FewFiles:
    """So many files more may be open at once: RLIMIT_NOFILE."""

    spare: int

    def begin(self) -> None:
        free = [number for number in range(DESCRIPTORS_MAX) if not _is_open(number)]
        _limit(resource.RLIMIT_NOFILE, free[self.spare])

    def end(self) -> None:
        _limit(resource.RLIMIT_NOFILE, DESCRIPTORS_MAX)


@attrs.frozen
class ShortFiles:
    """Files end there, in the middle of a write if need be: RLIMIT_FSIZE."""

    size_bytes: int

    def begin(self) -> None:
        _limit(resource.RLIMIT_FSIZE, self.size_bytes)

    def end(self) -> None:
        _limit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1])


@attrs.frozen
class FullDisk:
    """The small disk has room for so many pages more."""

    mounted: Path
    pages: int

    def begin(self) -> None:
        leave_room(self.mounted, self.pages)

    def end(self) -> None:
        make_roomy(self.mounted)


@attrs.frozen
class Heard:
    """What a program told of its life."""

    acknowledged: int
    """The last position that it was answered with."""
    failures: list[str]
    """What went wrong: what was being done, the kind of error, and what it said."""
    is_done: bool
    """It came to the end of the script, and closed the ledger in good order."""
    wrong: str
    """What it found to be false; empty if nothing."""

    @property
    def was_refused(self) -> bool:
        """A request was, for want of room; asked again, its events have later times."""
        return any(JournalFull.__name__ in failure for failure in self.failures)

    @classmethod
    def of(cls, told: bytes) -> Heard:
        said = [json.loads(line) for line in told.splitlines()]
        failures = [one["failed"] for one in said if "failed" in one]
        ended = said[-1] if said and "done" in said[-1] else {"wrong": "it died without a word"}
        acknowledged = max(
            (one["acknowledged"] for one in said if "acknowledged" in one), default=0
        )
        return cls(acknowledged, failures, bool(ended.get("done")), ended.get("wrong", ""))


@attrs.frozen
class Life:
    """What the process is to do; called with the ledger's path and the pipe to tell on."""

    truth: Truth
    trouble: Trouble | None = None
    at: int = 0
    """The request that the trouble begins before; 0 creates the accounts, -1 is the opening."""
    may_read: bool = True
    """Whether the trouble leaves what is on disk readable."""

    def __call__(self, path: Path, pipe: int) -> None:
        with on_one_thread():
            _Living(self, path, pipe).live()


def lived(life: Life, path: Path) -> Heard:
    """Have it lived in a process of its own. This one, which is forked, must have no threads."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=life, args=(path, sending.fileno()), daemon=True)
    process.start()
    sending.close()
    with receiving:
        told = b"".join(iter(lambda: os.read(receiving.fileno(), 65_536), b""))
    process.join()
    process.close()
    return Heard.of(told)


class _Living(logging.Handler):
    """Also hears what the ledger only logs."""

    def __init__(self, life: Life, path: Path, pipe: int) -> None:
        super().__init__()
        self._life = life
        self._path = path
        self._pipe = pipe
        self._clock = HandClock(START_NS)
        self._acknowledged = 0
        self._was_refused = False
        self._is_in_trouble = False

    def live(self) -> None:
        log = logging.getLogger("nostro")
        log.addHandler(self)
        log.propagate = False
        before = _open_numbers()
        try:
            is_done = self._live()
            self._end()
            gc.collect()  # an error's traceback may hold what was opened before it
            assert _open_numbers() == before, "files were left open"
        except BaseException:  # noqa: BLE001 - told, and looked at by whoever started this
            self._tell(done=False, wrong=traceback.format_exc())
        else:
            self._tell(done=is_done)

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(failed=f"logged: {record.getMessage()}")

    def _live(self) -> bool:
        """Whether all was done in the end."""
        failures = 0
        if self._life.at < 0:
            self._begin()
        while failures < FAILURES_MAX:
            try:
                ledger = open_ledger(self._path, self._clock)
            except (OSError, NoRoomToRecover) as error:
                self._failed("opening", error)
                failures += 1
                self._end()
                continue
            is_done, failed = False, False
            try:
                is_done = self._post(ledger)
            except (JournalFull, WriterPoisoned):
                failed = True
            try:
                ledger.close()
            except (OSError, WriterPoisoned) as error:
                self._failed("closing", error)
                failed = True
            if failed:
                failures += 1
                self._end()
            elif is_done:
                return True
        return False

    def _post(self, ledger: Ledger) -> bool:
        """Whether the last request has its answer; else it is time to open the ledger again."""
        self._read(ledger)
        for number in range(bisect_right(self._life.truth.ends, ledger.position), REQUESTS + 1):
            if number == self._life.at:
                self._begin()
            self._clock.now = START_NS + number * REQUEST_NS
            try:
                self._request(ledger, number)
            except JournalFull:  # space returns, and it is asked again
                self._was_refused = True
                self._end()
                self._request(ledger, number)
            self._acknowledged = ledger.position
            self._check_head()
            self._tell(acknowledged=self._acknowledged)
            if number in CHECKPOINTS:
                try:
                    ledger.checkpoint()
                except (OSError, WriterPoisoned) as error:
                    self._failed("a checkpoint", error)
                    self._read(ledger)
            if number in REOPENED:
                return False
        return True

    def _request(self, ledger: Ledger, number: int) -> None:
        try:
            if number:
                ledger.create_transfers(transfers(number))
            else:
                ledger.create_accounts(accounts())
        except (JournalFull, WriterPoisoned) as error:
            self._failed(f"request {number}", error)
            self._read(ledger)
            raise

    def _read(self, ledger: Ledger) -> None:
        """Reading goes on, and shows what was acknowledged."""
        self._check_position(ledger)
        found = ledger.lookup_accounts(ACCOUNTS)
        assert sum(one.debits_posted for one in found) == sum(one.credits_posted for one in found)
        try:
            known = [
                one.id for one in transfers(1) if self._acknowledged >= self._life.truth.ends[1]
            ]
            assert [one.id for one in ledger.lookup_transfers(known)] == known
        except OSError as error:
            assert not self._life.may_read, "what is on disk cannot be read any more"
            self._failed("a look-up", error)

    def _check_position(self, ledger: Ledger) -> None:
        if self._was_refused:
            assert ledger.position >= self._acknowledged
        else:
            check_position(ledger, self._life.truth, self._acknowledged)

    def _check_head(self) -> None:
        """HEAD vouches for what is acknowledged."""
        head = self._path / "HEAD"
        with contextlib.suppress(OSError):  # nobody can read it just now
            assert newest(head.read_bytes(), path=head).position >= self._acknowledged

    # telling

    def _begin(self) -> None:
        if self._life.trouble is not None and not self._is_in_trouble:
            self._is_in_trouble = True
            self._life.trouble.begin()

    def _end(self) -> None:
        if self._life.trouble is not None and self._is_in_trouble:
            self._life.trouble.end()

    def _failed(self, what: str, error: Exception) -> None:
        self._tell(failed=f"{what}: {type(error).__name__}: {error}")

    def _tell(self, **said: object) -> None:
        os.write(self._pipe, json.dumps(said).encode() + b"\n")


def _limit(kind: int, soft: int) -> None:
    resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))


def _open_numbers() -> list[int]:
    return [number for number in range(DESCRIPTORS_MAX) if _is_open(number)]


def _is_open(number: int) -> bool:
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        return False
    return True
