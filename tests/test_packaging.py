"""The archives hold what the folders hold: real files, the marker for type checkers, and the demo."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PARTS = ("events", "core", "projections", "adapters")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SYMLINK = 0o120000


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist of the checkout as it stands."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def files_of(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".db"}
    )


def expected_in_wheel() -> dict[str, Path]:
    """Every file of the package: its name in the wheel, and where it lies here."""
    package = {f"flowledger/{path.name}": path for path in (ROOT / "flowledger").iterdir() if path.is_file()}
    testing = {path.relative_to(ROOT).as_posix(): path for path in files_of(ROOT / "flowledger" / "testing")}
    parts = {
        f"flowledger/{path.relative_to(ROOT).as_posix()}": path for part in PARTS for path in files_of(ROOT / part)
    }
    demo = {
        f"flowledger/{path.relative_to(ROOT).as_posix()}": path
        for path in (ROOT / "examples" / "__init__.py", *files_of(ROOT / "examples" / "cluster"))
    }
    return package | testing | parts | demo


def test_the_wheel_holds_what_the_folders_hold(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        inside = {entry for entry in wheel.namelist() if ".dist-info/" not in entry}

        assert inside == set(expected_in_wheel())
        assert all(wheel.read(entry) == path.read_bytes() for entry, path in expected_in_wheel().items())


@pytest.mark.parametrize(
    "entry",
    [
        "flowledger/__init__.py",
        "flowledger/__main__.py",
        "flowledger/py.typed",
        "flowledger/core/plan.py",
        "flowledger/events/facts.py",
        "flowledger/adapters/cli/__init__.py",
        "flowledger/examples/cluster/cluster.json",
        "flowledger/examples/cluster/flows.py",
    ],
)
def test_what_would_be_missed_first_is_in_the_wheel(archives: tuple[Path, Path], entry: str) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        assert entry in wheel.namelist()


def test_the_archives_hold_no_links(archives: tuple[Path, Path]) -> None:
    wheel, sdist = archives
    with zipfile.ZipFile(wheel) as zipped:
        in_wheel = [e.filename for e in zipped.infolist() if stat.S_IFMT(e.external_attr >> 16) == SYMLINK]
    with tarfile.open(sdist) as tarred:
        in_sdist = [member.name for member in tarred if member.issym() or member.islnk()]

    assert in_wheel == []
    assert in_sdist == []


def test_the_licence_travels_along(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        licence = next(entry for entry in wheel.namelist() if entry.endswith("/LICENSE"))

        assert b"Apache License" in wheel.read(licence)


def test_the_wheel_built_from_the_sdist_is_the_same(archives: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = archives
    with tarfile.open(sdist) as tarred:
        tarred.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()

    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "dist")]
    subprocess.run(command, cwd=unpacked, capture_output=True, check=True)

    (rebuilt,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(rebuilt) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())


def installed_with(requirements: list[str]) -> set[str]:
    """Names of all packages that come with these requirements, as installed here; extras followed."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(line), "") for line in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = requirement.name.lower().replace("_", "-")
        found.add(name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                todo += [(Requirement(line), wanted) for line in metadata.requires(name) or []]
    return found


def test_the_package_brings_at_most_25_packages() -> None:
    assert len(installed_with(PROJECT["dependencies"])) <= 25


def test_every_dependency_is_used() -> None:
    """By the library today, or fixed for what comes next: kombu is the broker's, psycopg Postgres'."""
    called = {"pyyaml": "yaml", "python-ulid": "ulid"}
    ahead = {"kombu", "psycopg"}
    source = "\n".join(path.read_text() for part in PARTS for path in files_of(ROOT / part) if path.suffix == ".py")
    imported = set(re.findall(r"^ *(?:from|import) (\w+)", source, flags=re.MULTILINE))

    names = {Requirement(line).name.lower() for line in PROJECT["dependencies"]} - ahead

    assert {called.get(name, name) for name in names} <= imported
