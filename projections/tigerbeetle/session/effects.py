"""Requests as effects ("sans I/O"): each is written once, for threads and for tasks.

A request is a generator. It yields an effect to wait for, and is resumed with the reply or with an
error. :func:`run` waits in the calling thread, :func:`run_async` in the running task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from nostro.projections.tigerbeetle.errors import ClusterError
from nostro.projections.tigerbeetle.session.session import Reply

T = TypeVar("T")

REPLY_BYTES_AT_ONCE: Final = 1 << 14
"""The event loop handles a reply of this size in about 1 ms: 1,024 results, or 128 rows."""


class AwaitReply(NamedTuple):
    """Wait for a reply; without one in time the request is resumed with TimeoutError."""

    future: Future[Reply]
    seconds: float


class Sleep(NamedTuple):
    seconds: float


Effect: TypeAlias = AwaitReply | Sleep
Effects: TypeAlias = Generator[Effect, Reply | None, T]


class _Done(NamedTuple, Generic[T]):
    value: T


def run(effects: Effects[T], sleep: Callable[[float], object]) -> T:
    """The result of ``effects``, in this thread; ``sleep`` waits for some seconds, or less."""
    step = _advance(effects, None)
    while not isinstance(step, _Done):
        outcome: Reply | Exception | None = None
        if isinstance(step, Sleep):
            sleep(step.seconds)
        else:
            try:
                outcome = step.future.result(step.seconds)
            except (TimeoutError, ClusterError) as error:
                outcome = error
        step = _advance(effects, outcome)
    value: T = step.value
    return value


async def run_async(effects: Effects[T], *, in_thread: bool = False) -> T:
    """The result of ``effects``, in this task.

    Another thread does what may take long: it handles an error, everything from a large reply on,
    and with ``in_thread`` everything. Cancelling the task leaves its request in flight.
    """
    step = (
        await asyncio.to_thread(_advance, effects, None) if in_thread else _advance(effects, None)
    )
    while not isinstance(step, _Done):
        outcome: Reply | Exception | None = None
        if isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        else:
            try:
                outcome = await _reply(step)
            except (TimeoutError, ClusterError) as error:
                outcome = error
        in_thread |= isinstance(outcome, Reply) and len(outcome.data) > REPLY_BYTES_AT_ONCE
        if isinstance(outcome, Reply) and not in_thread:
            step = _advance(effects, outcome)
        else:  # a session is closed or opened, or many objects are made
            step = await asyncio.to_thread(_advance, effects, outcome)
    value: T = step.value
    return value


def _advance(effects: Effects[T], outcome: Reply | Exception | None) -> Effect | _Done[T]:
    try:
        return effects.throw(outcome) if isinstance(outcome, Exception) else effects.send(outcome)
    except StopIteration as end:
        return _Done(end.value)


async def _reply(step: AwaitReply) -> Reply:
    """asyncio.wrap_future would cancel the request, which the client library cannot take back."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: Future[Reply]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(done.set)

    step.future.add_done_callback(wake)
    async with asyncio.timeout(step.seconds):
        await done.wait()
    return step.future.result()
