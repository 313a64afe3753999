"""What a projection is: a name, a version, a beginning, and how one record changes it."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from nostro.journal.reading.reader import Record

State = TypeVar("State")


class Projection(Protocol[State]):
    """A pure function of the journal.

    ``name`` names its checkpoints (letters, digits and underscores). Raise ``version`` whenever
    the same journal would give another state: older checkpoints are then ignored and the state is
    rebuilt. ``apply`` may change the state it is given, must return the new one, and may use
    nothing but its arguments: no clock, no randomness, no I/O.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    def initial(self) -> State:
        """The state before the first event."""
        ...

    def apply(self, state: State, record: Record) -> State:
        """The state after ``record``."""
        ...

    def dump(self, state: State) -> Any:
        """The state as CBOR carries it: ints of 64 bits, bytes, text, booleans, lists, maps."""
        ...

    def load(self, dump: Any) -> State:
        """The state that :meth:`dump` gave."""
        ...
