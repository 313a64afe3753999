"""What a mirror says of itself, in a file for whoever asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from nostro.journal.storage.files import Storage
from nostro.projections.tigerbeetle.mirror.health import (
    MirrorHealth,
    MirrorState,
    read_health,
    write_health,
)
from tests.storages import RecordingStorage

SOUND: Final = MirrorHealth(
    state=MirrorState.LIVE,
    connected=True,
    cluster_id=2**128 - 1,
    replicas="10.0.0.1:3001",
    position=90,
    position_head=100,
    lag_seconds=0.5,
    events_mirrored=80,
    failures=1,
    last_error="no answer",
    last_error_at=10**18,
    updated_at=10**18 + 5,
    process_id=123,
)


@pytest.mark.parametrize("state", list(MirrorState))
def test_it_comes_back_as_it_was_written(tmp_path: Path, state: MirrorState) -> None:
    health = attrs.evolve(SOUND, state=state, last_error=None, last_error_at=None)
    for one in (SOUND, health):
        write_health(Storage(), tmp_path / "health", one)
        assert read_health(Storage(), tmp_path / "health") == one
    assert [path.name for path in tmp_path.iterdir()] == ["health"]


@pytest.mark.parametrize(
    ("changes", "is_healthy"),
    [
        ({}, True),
        ({"state": MirrorState.CATCHING_UP}, True),
        ({"connected": False}, False),
        *(
            ({"state": state}, False)
            for state in MirrorState
            if state not in {MirrorState.LIVE, MirrorState.CATCHING_UP}
        ),
    ],
)
def test_it_is_healthy_while_it_mirrors(changes: dict[str, Any], *, is_healthy: bool) -> None:
    assert attrs.evolve(SOUND, **changes).is_healthy is is_healthy


def test_others_read_it_as_json() -> None:
    """With what follows from the fields."""
    said = json.loads(json.dumps(SOUND.as_json()))
    assert said["state"] == "live"
    assert said["lag_events"] == 10
    assert said["healthy"] is True
    assert set(said) == {field.name for field in attrs.fields(MirrorHealth)} | {
        "lag_events", "healthy",
    }  # fmt: skip
    assert attrs.evolve(SOUND, position=101).lag_events == 0


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'"x"', b"{}", b'{"state": "live"}', b"\xff\xfe", b"null"]
)
def test_what_is_not_whole_says_nothing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "health"
    assert read_health(Storage(), file) is None
    file.write_bytes(content)
    assert read_health(Storage(), file) is None
    said = SOUND.as_json()
    file.write_text(json.dumps({**said, "state": "unheard of"}))
    assert read_health(Storage(), file) is None


def test_it_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Written beside it and renamed, so nobody reads half of it."""
    storage = RecordingStorage()
    write_health(storage, tmp_path / "health", SOUND)
    assert storage.story() == [
        ("create", "health.tmp"),
        ("write", "health.tmp"),
        ("close", "health.tmp"),
        ("rename", "health.tmp"),
    ]
    assert (tmp_path / "health").stat().st_mode & 0o777 == 0o600
