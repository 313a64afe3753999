"""TigerBeetle's own client library, with nobody at the other end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from nostro.journal.model import TRANSFER
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    ClusterUnreachable,
    HostUnknown,
    SessionClosed,
)
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.cluster import Cluster, id_words
from nostro.projections.tigerbeetle.session.session import Session

pytest.importorskip("tigerbeetle")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def configuration() -> ClusterConfiguration:
    return ClusterConfiguration(2**127, (f"127.0.0.1:{closed_port()}",), timeout_seconds=0.2)


@pytest.fixture
def session(configuration: ClusterConfiguration) -> Iterator[Session]:
    from nostro.projections.tigerbeetle.session.native import NativeSession  # noqa: PLC0415  # an extra

    session = NativeSession(configuration)
    yield session
    session.close()


def test_nobody_there_is_told_in_time(configuration: ClusterConfiguration) -> None:
    """And closing does not wait for whoever is not there."""
    from nostro.projections.tigerbeetle.session.native import NativeSession  # noqa: PLC0415  # an extra

    with (
        Cluster(configuration, lambda: NativeSession(configuration)) as cluster,
        pytest.raises(ClusterUnreachable, match=r"within 0\.2 s"),
    ):
        cluster.now()
    # private: a cluster that did not answer can still be asked only here
    assert cluster._session.submit(Operation.LOOKUP_ACCOUNTS, id_words([1])).done()


def test_what_is_in_flight_ends_with_the_session(session: Session) -> None:
    """From another thread as well; a closed session takes nothing more, and closes once."""
    futures = [session.submit(Operation.LOOKUP_ACCOUNTS, id_words([id_])) for id_ in range(50)]
    futures.append(session.submit(Operation.CREATE_TRANSFERS, np.zeros(8_189, TRANSFER)))
    assert not any(future.done() for future in futures)
    thread = threading.Thread(target=session.close)
    began = time.monotonic()
    thread.start()
    for future in futures:
        with pytest.raises(SessionClosed):
            future.result(60)
    thread.join(60)
    assert time.monotonic() - began < 30  # the client itself would wait for ever
    session.close()
    with pytest.raises(SessionClosed):
        session.submit(Operation.LOOKUP_ACCOUNTS, id_words([1])).result(60)


def test_sessions_leave_nothing_behind(configuration: ClusterConfiguration) -> None:
    """Neither one that was closed nor one that could not be opened."""
    from nostro.projections.tigerbeetle.session import native  # noqa: PLC0415  # an extra

    before = len(native._sessions)  # private: the table must not grow with each session
    for _ in range(5):
        session = native.NativeSession(configuration)
        session.submit(Operation.LOOKUP_ACCOUNTS, id_words([1]))
        session.close()
        assert session._in_flight == {}  # private: a request left in it would never be freed
    assert len(native._sessions) == before  # private: the table must not grow with each session


def test_an_unknown_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from nostro.projections.tigerbeetle.session.native import NativeSession  # noqa: PLC0415  # an extra

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    configuration = ClusterConfiguration(7, ("nowhere.invalid",))
    with pytest.raises(HostUnknown, match=r"nowhere\.invalid: .*not known"):
        Cluster(configuration, lambda: NativeSession(configuration))
