"""The queue that joins requests: those that arrive during a decision share the next record.

One caller leads. It decides on the joined requests, wakes the next leader, waits for the disk and
answers the other callers, which sleep until then. A next leader with few rows first waits for the
disk, and other requests join it meanwhile. A request that arrives alone does not wait.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from nostro.journal.errors import JournalFull
from nostro.projections.pipeline.create_request import CreateRequest, take_joined
from nostro.projections.pipeline.pipeline import Pipeline

_FEW_ROWS: Final = 512
"""More are decided while the disk is at work."""


class CombiningQueue:
    """Takes requests from any thread through the pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._waiting: deque[CreateRequest] = deque()
        self._is_led = False

    def carry_out(self, request: CreateRequest) -> None:
        """Return once the request has results, which are durable, or an error."""
        joined = request
        with self._lock:
            leads = not self._is_led
            self._is_led = True
            if not leads:
                request.wake = threading.Lock()
                request.wake.acquire()
                self._waiting.append(request)
        if not leads:
            self._sleep(request)
            if not request.is_elected:
                return
            try:
                if len(request.rows) < _FEW_ROWS:
                    self._pipeline.wait_for_disk()  # others come meanwhile
            except Exception:  # noqa: BLE001, S110 - its own caller gets it
                pass
            except BaseException:  # from outside: somebody else must lead
                with self._lock:
                    self._waiting.remove(request)
                    self._hand_over()
                raise
            with self._lock:
                joined = take_joined(self._waiting)
        self._lead(joined, request)

    def _sleep(self, request: CreateRequest) -> None:
        if request.wake is None:
            raise AssertionError("nobody will wake it")
        try:
            request.wake.acquire()
        except BaseException:  # an exception from outside: somebody else must lead
            with self._lock:
                if request in self._waiting:
                    self._waiting.remove(request)
                    if request.is_elected:
                        self._hand_over()
            raise

    def _lead(self, joined: CreateRequest, own: CreateRequest) -> None:
        try:
            self._decide(joined, own)
        except JournalFull as full:
            joined.fail(full)
            if joined.parts:  # nothing was created: some of them may do alone
                for request in joined.singles():
                    self._alone(request)
        except Exception as cause:  # noqa: BLE001 - it is the callers', some in other threads
            joined.fail(cause)
        except BaseException as cause:  # from outside, and only for this caller
            joined.fail(self._pipeline.interrupted(cause))
            raise
        finally:
            for request in joined.parts:
                if request is not own and request.wake is not None:
                    request.wake.release()

    def _decide(self, joined: CreateRequest, own: CreateRequest) -> None:
        try:
            results, queued = self._pipeline.decide(joined.kind, joined.rows, joined.applied)
        finally:
            with self._lock:
                self._hand_over()
        joined.deliver(results)
        if own.applied is None:  # balances are known once it is durable
            own.prepare()  # while the disk is at work
        self._pipeline.complete(queued)

    def _alone(self, request: CreateRequest) -> None:
        try:
            results, queued = self._pipeline.decide(request.kind, request.rows, request.applied)
            self._pipeline.complete(queued)
            request.deliver(results)
        except Exception as cause:  # noqa: BLE001 - it is the caller's, perhaps in another thread
            request.fail(cause)

    def _hand_over(self) -> None:
        """Let the caller of the first request in line lead next."""
        if not self._waiting:
            self._is_led = False
            return
        first = self._waiting[0]
        first.is_elected = True
        if first.wake is not None:
            first.wake.release()
