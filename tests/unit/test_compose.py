"""The compose files: valid, closed to the outside, in order, of one mind, safe to repeat.

There is no container engine in it: files are read, and the scripts in them run in a plain shell.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from tests.clusters import StandIn, make_stand_in
from tests.documents import ROOT

FILES: Final = ("compose.single.yml", "compose.three.yml", "compose.five-peers.yml")
FORMAT: Final = "tigerbeetle-format"
_VARIABLE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+):(?P<sign>[-?])(?P<text>[^}]*)\})"
)


def interpolate(value: Any, environment: dict[str, str]) -> Any:  # noqa: ANN401 - as YAML gives it
    """What compose makes of ``${NAME:-default}``, ``${NAME:?message}`` and ``$$``."""
    if isinstance(value, dict):
        return {key: interpolate(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environment) for item in value]
    if not isinstance(value, str):
        return value

    def resolve(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["sign"] == "?":
            return environment[match["name"]]
        return environment.get(match["name"]) or match["text"]

    assert "$" not in _VARIABLE.sub("", value), value
    return _VARIABLE.sub(resolve, value)


def load(name: str, **environment: str) -> dict[str, Any]:
    text = (ROOT / "tools/cluster" / name).read_text(encoding="utf-8")
    loaded: dict[str, Any] = interpolate(
        yaml.safe_load(text), {"CONNECTOR_IMAGE": "connector", **environment}
    )
    return loaded


def servers(loaded: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: service
        for name, service in loaded["services"].items()
        if name.startswith("tigerbeetle") and name != FORMAT
    }


def addresses(server: dict[str, Any]) -> str:
    [argument] = [part for part in server["command"] if part.startswith("--addresses=")]
    return str(argument).removeprefix("--addresses=")


@pytest.mark.parametrize("name", FILES)
def test_a_compose_file_is_valid(name: str) -> None:
    """By the compose specification's own schema; a misspelt key is seen."""
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    loaded = load(name)
    assert [error.message for error in validator.iter_errors(loaded)] == []
    for key in ("healthchek", "depends"):
        service = {**loaded["services"]["tigerbeetle-format"], key: {}}
        assert list(validator.iter_errors({"services": {"any": service}}))


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_published(name: str) -> None:
    """No port of the host leads in, and the server's network leads nowhere."""
    loaded = load(name)
    for service in loaded["services"].values():
        assert "ports" not in service
        assert service.get("network_mode", "none") == "none"
    assert loaded["networks"]["ledger"]["internal"] is True
    for server in servers(loaded).values():
        assert list(server["networks"]) == ["ledger"]
        assert server["expose"] == ["3000"]


@pytest.mark.parametrize("name", FILES)
def test_the_server_may_do_what_it_must(name: str) -> None:
    """io_uring and locked memory and no more, also where data files are made; one pinned image."""
    loaded = load(name)
    made = [*servers(loaded).values(), loaded["services"][FORMAT]]
    assert {service["image"] for service in made} == {"ghcr.io/tigerbeetle/tigerbeetle:0.17.9"}
    for service in made:
        assert service["security_opt"] == ["seccomp=unconfined"]
        assert service["cap_add"] == ["IPC_LOCK"]
        assert "privileged" not in service


@pytest.mark.parametrize("name", FILES)
def test_servers_keep_their_data_and_come_back(name: str) -> None:
    """Each has a named volume of its own, which the making of data files has too."""
    loaded = load(name)
    volumes = [server["volumes"] for server in servers(loaded).values()]
    sources = [source.removesuffix(":/data") for [source] in volumes]
    assert loaded["volumes"] == dict.fromkeys(sources)  # kept by the engine, as any volume
    assert sources == list(loaded["volumes"])
    assert len(set(sources)) == len(sources)
    assert [text.split(":")[0] for text in loaded["services"][FORMAT]["volumes"]] == sources
    assert loaded["services"][FORMAT]["restart"] == "no"
    others = [service for key, service in loaded["services"].items() if key != FORMAT]
    assert {service["restart"] for service in others} == {"unless-stopped"}


@pytest.mark.parametrize("name", FILES)
def test_what_is_needed_is_started_before(name: str) -> None:
    """Data files are made, then servers start, then who uses them, once they listen."""
    loaded = load(name)
    for server in servers(loaded).values():
        assert server["depends_on"] == {FORMAT: {"condition": "service_completed_successfully"}}
        own = server["networks"]["ledger"]["ipv4_address"]
        assert server["healthcheck"] == {
            "test": ["CMD", "nc", "-z", own, "3000"],
            "interval": "10s", "timeout": "5s", "retries": 5, "start_period": "30s",
        }  # fmt: skip
    peers = [service for key, service in loaded["services"].items() if key.startswith("peer")]
    assert len(peers) == (5 if name == "compose.five-peers.yml" else 0)
    for peer in peers:
        assert peer["depends_on"] == {"tigerbeetle": {"condition": "service_healthy"}}
        assert peer["networks"] == ["ledger", "ilp"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {
            "TIGERBEETLE_CLUSTER_ID": "77",
            "TIGERBEETLE_SUBNET": "10.9.8",
            "TIGERBEETLE_CACHE_GRID": "1GiB",
        },
    ],
)
def test_everybody_means_the_same_cluster(name: str, environment: dict[str, str]) -> None:
    """One id in every place, and the same addresses in the same order; each server has its own."""
    loaded = load(name, **environment)
    cluster_id = environment.get("TIGERBEETLE_CLUSTER_ID", "0")
    [expected] = {addresses(server) for server in servers(loaded).values()}
    for index, server in enumerate(servers(loaded).values()):
        assert server["command"] == [
            "start",
            f"--addresses={expected}",
            f"--cache-grid={environment.get('TIGERBEETLE_CACHE_GRID', '256MiB')}",
            f"/data/{cluster_id}_{index}.tigerbeetle",
        ]
        own = server["networks"]["ledger"]["ipv4_address"]
        assert expected.split(",")[index] == f"{own}:3000"
    assert len(expected.split(",")) == len(servers(loaded)) in {1, 3}
    assert loaded["services"][FORMAT]["environment"] == {"CLUSTER_ID": cluster_id}
    [network] = loaded["networks"]["ledger"]["ipam"]["config"]
    base = network["subnet"].removesuffix(".0/24")
    assert network["ip_range"] == f"{base}.128/25"
    assert all(address.startswith(f"{base}.1") for address in expected.split(","))
    for key, service in loaded["services"].items():
        if key.startswith("peer"):
            assert service["environment"] == {
                "TIGERBEETLE_CLUSTER_ID": cluster_id,
                "TIGERBEETLE_REPLICAS": expected,
                "NODE_ID": key,
            }


@pytest.mark.parametrize("name", FILES)
def test_the_comments_name_the_addresses_that_are_used(name: str) -> None:
    """What the head of a file says to set is what its servers have."""
    [expected] = {addresses(server) for server in servers(load(name)).values()}
    text = (ROOT / "tools/cluster" / name).read_text(encoding="utf-8")
    if name != "compose.five-peers.yml":
        assert f"#   TIGERBEETLE_REPLICAS={expected}\n" in text
    subnet = expected.partition(".11:")[0]
    assert re.search(rf"#   TIGERBEETLE_SUBNET +{re.escape(subnet)} ", text)


def test_the_files_can_run_side_by_side() -> None:
    """Each has a project and a network of its own."""
    loaded = [load(name) for name in FILES]
    assert len({each["name"] for each in loaded}) == len(FILES)
    subnets = [each["networks"]["ledger"]["ipam"]["config"][0]["subnet"] for each in loaded]
    assert len(set(subnets)) == len(FILES)


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return make_stand_in(tmp_path / "bin")


def make_files(
    name: str, folder: Path, stand_in: StandIn, cluster_id: str = "5"
) -> subprocess.CompletedProcess[str]:
    """Run the script that makes data files, with folders for volumes."""
    service = load(name, TIGERBEETLE_CLUSTER_ID=cluster_id)["services"][FORMAT]
    for text in service["volumes"]:
        (folder / text.partition(":/")[2]).mkdir(parents=True, exist_ok=True)
    [script] = service["command"]
    script = script.replace("/data", str(folder / "data")).replace(
        "/tigerbeetle format", f"{stand_in.binary} format"
    )
    return subprocess.run(
        [*service["entrypoint"], script],
        env={"PATH": os.environ["PATH"], **service["environment"]},
        capture_output=True,
        text=True,
        check=False,
    )


def found(folder: Path) -> dict[str, str]:
    data = folder / "data"
    return {
        str(path.relative_to(data)): path.read_text() for path in data.rglob("*") if path.is_file()
    }


def names(name: str, cluster_id: str = "5") -> list[str]:
    if name == "compose.three.yml":
        return [f"{index}/{cluster_id}_{index}.tigerbeetle" for index in range(3)]
    return [f"{cluster_id}_0.tigerbeetle"]


@pytest.mark.parametrize("name", FILES)
def test_data_files_are_made_once(name: str, tmp_path: Path, stand_in: StandIn) -> None:
    """The first start makes them, with the right arguments; later ones leave them alone."""
    assert make_files(name, tmp_path, stand_in).returncode == 0
    made = found(tmp_path)
    assert sorted(made) == names(name)
    for index, text in enumerate(made[path] for path in names(name)):
        assert text.splitlines()[:3] == [
            "--cluster=5",
            f"--replica={index}",
            f"--replica-count={len(made)}",
        ]
    for path in names(name):
        (tmp_path / "data" / path).write_text("precious")
    assert make_files(name, tmp_path, stand_in).returncode == 0
    assert set(found(tmp_path).values()) == {"precious"}


@pytest.mark.parametrize("name", FILES)
def test_an_interrupted_making_begins_anew(name: str, tmp_path: Path, stand_in: StandIn) -> None:
    """What fails leaves no data file, and what it left half done is not in the way."""
    last = len(names(name)) - 1
    stand_in.does(f"format-fails-{last}")
    assert make_files(name, tmp_path, stand_in).returncode != 0
    assert not set(found(tmp_path)) & set(names(name))
    half = tmp_path / "data" / Path(names(name)[0]).parent / "unfinished"
    half.write_text("half")
    stand_in.does()
    assert make_files(name, tmp_path, stand_in).returncode == 0
    assert sorted(found(tmp_path)) == names(name)
    assert "half" not in found(tmp_path).values()


@pytest.mark.parametrize("name", FILES)
def test_a_volume_of_another_cluster_is_refused(
    name: str, tmp_path: Path, stand_in: StandIn
) -> None:
    """Its id stands in it; no second data file is put beside the first."""
    assert make_files(name, tmp_path, stand_in).returncode == 0
    before = found(tmp_path)
    done = make_files(name, tmp_path, stand_in, cluster_id="6")
    assert done.returncode == 1
    assert "an id never changes" in done.stderr
    assert found(tmp_path) == before


@pytest.mark.parametrize("lost", [(0,), (1,), (2,), (0, 1), (1, 2)])
def test_a_lost_replica_is_not_made_anew(
    tmp_path: Path, stand_in: StandIn, lost: tuple[int, ...]
) -> None:
    """It would not know what it had promised."""
    name = "compose.three.yml"
    assert make_files(name, tmp_path, stand_in).returncode == 0
    for index in lost:
        (tmp_path / "data" / names(name)[index]).unlink()
    before = found(tmp_path)
    done = make_files(name, tmp_path, stand_in)
    assert done.returncode == 1
    assert "recover" in done.stderr
    assert found(tmp_path) == before
