"""What a cluster's description says, and which ones are refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from nostro.tools.cluster.description import (
    CLUSTER_ID_MAX,
    Description,
    read_description,
    write_description,
)
from nostro.tools.cluster.errors import ClusterDamaged, NotACluster

THREE = Description(
    cluster_id=CLUSTER_ID_MAX,
    addresses=("127.0.0.1:3000", "127.0.0.1:3001", "127.0.0.1:3002"),
    version="0.17.9+1",
    cache_grid_mib=64,
    development=False,
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Every fact comes back, a 128-bit id too, and only the owner may read it."""
    write_description(tmp_path, THREE)
    assert read_description(tmp_path) == THREE
    assert stat.S_IMODE((tmp_path / "cluster.json").stat().st_mode) == 0o600
    assert THREE.environment == {
        "TIGERBEETLE_CLUSTER_ID": str(2**128 - 1),
        "TIGERBEETLE_REPLICAS": "127.0.0.1:3000,127.0.0.1:3001,127.0.0.1:3002",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("cluster_id", 7),
        ("cluster_id", "-1"),
        ("cluster_id", "007"),
        ("cluster_id", str(2**128)),
        ("replica_count", 2),
        ("addresses", []),
        ("addresses", ["127.0.0.1:3000", "127.0.0.1:3001"]),
        ("addresses", ["127.0.0.1:3000", "127.0.0.1:3001", "127.0.0.1:3001"]),
        ("addresses", ["127.0.0.1:3000", "127.0.0.1:3001", "10.0.0.1:3001"]),
        ("addresses", ["127.0.0.1:3000", "127.0.0.1:3001", "127.0.0.1:65536"]),
        ("addresses", "127.0.0.1:3000"),
        ("version", None),
        ("cache_grid_mib", 31),
        ("cache_grid_mib", True),
        ("cache_grid_mib", "64"),
        ("development", 0),
        ("more", 1),
    ],
)
def test_a_description_that_no_program_has_written_is_refused(
    tmp_path: Path, field: str, value: object
) -> None:
    """Each field is held to its type and bounds, and the file is named."""
    content = {**THREE.to_json(), field: value}
    (tmp_path / "cluster.json").write_text(json.dumps(content))
    with pytest.raises(ClusterDamaged, match=r"cluster\.json: "):
        read_description(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b" " * 70_000]
)
def test_what_is_no_description_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever bytes stand there, the error is the typed one."""
    (tmp_path / "cluster.json").write_bytes(content)
    with pytest.raises(ClusterDamaged):
        read_description(tmp_path)


def test_a_missing_field_is_refused(tmp_path: Path) -> None:
    """Nothing is guessed for it."""
    for field in THREE.to_json():
        content = {name: value for name, value in THREE.to_json().items() if name != field}
        (tmp_path / "cluster.json").write_text(json.dumps(content))
        with pytest.raises(ClusterDamaged):
            read_description(tmp_path)


def test_what_is_no_cluster_is_refused(tmp_path: Path) -> None:
    """A directory without a description, a file, a link, nothing at all."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "empty", "link", "nothing", "file/below"):
        with pytest.raises(NotACluster):
            read_description(tmp_path / name)


def test_a_description_is_not_read_through_a_link(tmp_path: Path) -> None:
    """Nor is one that is no regular file."""
    write_description(tmp_path, THREE)
    (tmp_path / "cluster.json").rename(tmp_path / "elsewhere")
    (tmp_path / "cluster.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ClusterDamaged):
        read_description(tmp_path)
