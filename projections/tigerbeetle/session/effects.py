"""What is to be asked of a cluster, apart from how one waits for it.

A request is a generator: it yields what to wait for, and is resumed with the reply, or with the
error in its place. :func:`carry_out` waits in a thread, :func:`carry_out_async` in a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from nostro.projections.tigerbeetle.errors import ClusterError
from nostro.projections.tigerbeetle.session.session import Reply

T = TypeVar("T")


class Wait(NamedTuple):
    """For a reply; TimeoutError is the answer when there is none in time."""

    future: Future[Reply]
    seconds: float


class Pause(NamedTuple):
    seconds: float


Steps: TypeAlias = Generator[Wait | Pause, Reply | None, T]


class _Done(NamedTuple, Generic[T]):
    value: T


def carry_out(steps: Steps[T], pause: Callable[[float], object]) -> T:
    """The result of ``steps``, in this thread; ``pause`` waits for so many seconds, or less."""
    step = _advance(steps, None)
    while not isinstance(step, _Done):
        came: Reply | Exception | None = None
        if isinstance(step, Pause):
            pause(step.seconds)
        else:
            try:
                came = step.future.result(step.seconds)
            except (TimeoutError, ClusterError) as error:
                came = error
        step = _advance(steps, came)
    value: T = step.value
    return value


async def carry_out_async(steps: Steps[T]) -> T:
    """The result of ``steps``, in this task. What follows on an error runs in another thread.

    Cancelling it leaves the request under way as it is.
    """
    step = _advance(steps, None)
    while not isinstance(step, _Done):
        came: Reply | Exception | None = None
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        else:
            try:
                came = await _reply(step)
            except (TimeoutError, ClusterError) as error:
                came = error
        if isinstance(came, Reply):
            step = _advance(steps, came)
        else:  # a session is closed or opened, which may take a while
            step = await asyncio.to_thread(_advance, steps, came)
    value: T = step.value
    return value


def _advance(steps: Steps[T], came: Reply | Exception | None) -> Wait | Pause | _Done[T]:
    try:
        return steps.throw(came) if isinstance(came, Exception) else steps.send(came)
    except StopIteration as end:
        return _Done(end.value)


async def _reply(step: Wait) -> Reply:
    """asyncio.wrap_future would cancel the request, which the client library cannot take back."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell(_: Future[Reply]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(done.set)

    step.future.add_done_callback(tell)
    async with asyncio.timeout(step.seconds):
        await done.wait()
    return step.future.result()
