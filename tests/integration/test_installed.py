"""nostro installed as its users install it: one package, beside whatever is theirs.

Each environment is fresh and holds what pip puts there for nostro alone; the packages that nostro
needs are linked in from the environment that runs the tests, so nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Final

import attrs
import pytest

import nostro
from tests.documents import ROOT

pytestmark = pytest.mark.slow  # It builds the package and installs it three times.

SITE: Final = Path(sysconfig.get_path("purelib"))
"""Where the packages are that run the tests."""

WAYS: Final = ("wheel", "sdist", "editable")

SHOW_WHAT_IS_THERE: Final = """
import importlib, importlib.metadata, json, pkgutil, sys
import nostro
found = {"version": nostro.__version__, "file": nostro.__file__, "failed": []}
found["distribution"] = importlib.metadata.version("nostro")
files = importlib.metadata.files("nostro")
found["files"] = sorted({str(file).partition("/")[0] for file in files})
found["modules"] = 0
for module in pkgutil.walk_packages(nostro.__path__, "nostro."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        found["failed"].append(f"{module.name}: {error}")
    found["modules"] += 1
found["missing"] = [name for name in nostro.__all__ if not hasattr(nostro, name)]
found["others"] = sorted(
    name for name in ("journal", "projections", "tools", "tests", "docs")
    if importlib.util.find_spec(name) is not None
)
print(json.dumps(found))
"""

THEIR_PROJECT: Final = {
    "journal.py": "ENTRIES = ['theirs']\n",
    "projections/__init__.py": "",
    "projections/sales.py": """
import journal


def total() -> int:
    return len(journal.ENTRIES)
""",
    "tools/__init__.py": "NAME = 'their tools'\n",
    "tools/__main__.py": "import app\n",
    "app.py": """
import asyncio
import sys

import journal
import tools
from projections.sales import total

from nostro import Account, AsyncLedger, Ledger, Transfer, id


async def main(path: str) -> None:
    async with await AsyncLedger.open(path) as ledger:
        await ledger.create_accounts([Account(id=n, ledger=1, code=1) for n in (1, 2)])
        [result] = await ledger.create_transfers(
            [Transfer(id=id(), debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1)]
        )
        assert result.status.name == "CREATED", result


asyncio.run(main("books"))
with Ledger.open("books", read_only=True) as ledger:
    assert ledger.transfer_count >= 1
assert total() == 1 and tools.NAME == "their tools"
assert journal.__file__.endswith("journal.py")
print("both", sys.argv[1:])
""",
    "test_theirs.py": """
import subprocess
import sys

import journal
import nostro
from projections import sales


def test_both(tmp_path):
    with nostro.Ledger.open(tmp_path / "books") as ledger:
        assert ledger.transfer_count == 0
    assert sales.total() == 1
    assert journal.ENTRIES == ["theirs"]
    assert nostro.verify(tmp_path / "books").position == 0
""",
}


@attrs.frozen
class Environment:
    """A fresh environment in which nostro is installed in one way."""

    path: Path

    def python(
        self, *arguments: str, cwd: Path, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run its Python in ``cwd``; nothing of this process's own paths is handed on."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [str(self.path / "bin" / "python"), *arguments],
            cwd=cwd,
            env={**kept, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist of this checkout, built by the backend that pip would call."""
    folder = tmp_path_factory.mktemp("dist")
    build = (
        "import sys, hatchling.build as backend\n"
        "print(backend.build_wheel(sys.argv[1]), backend.build_sdist(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wheel, sdist = done.stdout.split()
    return {"wheel": folder / wheel, "sdist": folder / sdist}


def _link_dependencies(site: Path) -> None:
    """Everything that stands beside nostro here, but for nostro itself and ``.pth`` files."""
    for there in SITE.iterdir():
        if there.suffix != ".pth" and not there.name.startswith(("nostro", "pip")):
            site.joinpath(there.name).symlink_to(there)


def install(target: str, folder: Path, *options: str) -> Environment:
    venv.create(folder, with_pip=False, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    _link_dependencies(site)
    subprocess.run(
        [sys.executable, "-m", "pip", f"--python={folder / 'bin' / 'python'}", "install", "-qq",
         "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check",
         *options, target],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Environment(folder)


@pytest.fixture(scope="module")
def environments(
    archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Environment]:
    return {
        "wheel": install(str(archives["wheel"]), tmp_path_factory.mktemp("wheel")),
        "sdist": install(str(archives["sdist"]), tmp_path_factory.mktemp("sdist")),
        "editable": install(str(ROOT), tmp_path_factory.mktemp("editable"), "--editable"),
    }


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A project with modules of its own that are called journal, projections and tools."""
    for name, text in THEIR_PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
def test_an_installation_is_one_package(
    environments: dict[str, Environment], way: str, tmp_path: Path
) -> None:
    """Whatever was installed: nostro and no other name, complete, with the version it has."""
    done = environments[way].python("-W", "error", "-c", SHOW_WHAT_IS_THERE, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["version"] == found["distribution"] == nostro.__version__
    assert found["failed"] == found["missing"] == found["others"] == []
    assert found["modules"] > 200
    names = {name for name in found["files"] if not name.endswith((".dist-info", ".pth", ".."))}
    assert names == (set() if way == "editable" else {"nostro"})
    assert Path(found["file"]).is_relative_to(
        ROOT / "src" if way == "editable" else environments[way].path
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_command_is_there(
    environments: dict[str, Environment], way: str, tmp_path: Path
) -> None:
    """``nostro`` and ``python -m nostro`` are the same command, and it works."""
    environment = environments[way]
    told = environment.python("-m", "nostro", "--version", cwd=tmp_path).stdout
    assert told == f"nostro {nostro.__version__}\n"
    environment.python("-m", "nostro", "init", "books", cwd=tmp_path)
    command = str(environment.path / "bin" / "nostro")
    assert environment.python(command, "--version", cwd=tmp_path).stdout == told
    shown = json.loads(
        environment.python(command, "verify", "books", "--json", cwd=tmp_path).stdout
    )
    assert shown["position"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["app.py", "x"],
        ["-m", "app", "x"],
        ["-m", "tools", "x"],
        ["-P", "app.py", "x"],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider"],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"],
    ],
    ids=" ".join,
)
def test_a_project_with_the_same_names_works_beside_it(
    environments: dict[str, Environment], theirs: Path, arguments: list[str]
) -> None:
    """Their journal.py, projections/ and tools/ are found as theirs, and nostro as itself."""
    if {"-P", "--import-mode=importlib"} & {*arguments}:  # what is beside a program is not found
        done = environments["wheel"].python(*arguments, cwd=theirs, PYTHONPATH=".")
    else:
        done = environments["wheel"].python(*arguments, cwd=theirs)
    assert "both ['x']" in done.stdout or "1 passed" in done.stdout


def test_the_command_runs_in_such_a_project(
    environments: dict[str, Environment], theirs: Path
) -> None:
    """``nostro`` starts processes of its own; they too find nostro's modules and not theirs."""
    environment = environments["wheel"]
    done = environment.python("-m", "nostro", "demo", cwd=theirs, PYTHONPATH=".")
    assert "acknowledged transfers are there" in done.stdout


def test_type_checkers_see_the_installed_package(
    environments: dict[str, Environment], theirs: Path
) -> None:
    """``mypy --strict`` knows the types of what a wheel installed, the lazy names included."""
    program = theirs / "typed.py"
    program.write_text(
        "from nostro import AsyncLedger, ClusterLedger, Ledger, Transfer, id\n"
        "import nostro.dropin as tigerbeetle\n\n"
        "reveal_type(Ledger.open('x').lookup_accounts([1]))\n"
        "reveal_type(ClusterLedger.open)\n"
        "reveal_type(tigerbeetle.id())\n"
        "Transfer(id='one')\n"
    )
    done = environments["wheel"].python(
        "-m", "mypy", "--strict", "--no-incremental", "typed.py", cwd=theirs, check=False
    )
    assert 'Revealed type is "list[nostro.journal.model.Account]"' in done.stdout.replace(
        "builtins.", ""
    )
    assert "ClusterLedger" in done.stdout
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.", "")
    assert 'has incompatible type "str"; expected "int"' in done.stdout
    assert "Found 1 error in 1 file" in done.stdout


def test_the_archives_hold_what_they_should(archives: dict[str, Path]) -> None:
    """The wheel holds one package, no tests and nothing compiled; the sdist what tests need."""
    with zipfile.ZipFile(archives["wheel"]) as wheel:
        names = wheel.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"nostro"}
    assert not [name for name in names if name.endswith(".pyc") or "test" in name]
    assert {"nostro/py.typed", "nostro/dropin.py", "nostro/__main__.py"} <= {*names}
    assert len(names) == len({*names})
    with tarfile.open(archives["sdist"]) as sdist:
        members = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"journal/model.py", "tests/conftest.py", "src/nostro/__init__.py"} <= members
    assert {"pyproject.toml", "Makefile", "README.md", "requirements-dev.lock"} <= members
