"""The house rules that a program can check: imports, sizes, names, and nothing that runs what the log says."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("events", "core", "projections", "adapters")
LIBRARY = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py")) + sorted(
    [*(ROOT / "flowledger").glob("*.py"), *(ROOT / "flowledger" / "testing").rglob("*.py")]
)
SHOWN = sorted((ROOT / "examples").rglob("*.py"))

FORBIDDEN_WORDS = {"manager", "handler", "helper", "helpers", "util", "utils", "common", "data", "info", "misc"}
FILE_LINES = 500
FUNCTION_LINES = 60

#: Code that runs what a string or a byte sequence says (RELIABILITY S1).
RUNS_CODE = {"eval", "exec", "__import__"}
LOADERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
UNSAFE_YAML = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
#: Where a module is imported by a name that is a value, and whose value that is. Never the log's.
IMPORTS_BY_NAME = {
    "flowledger/__init__.py": "the facade's own table",
    "flowledger/testing/__init__.py": "its own table, too",
    "adapters/cli/finding.py": "the app that the user names: --app, FLOWLEDGER_APP, pyproject.toml",
    "adapters/importing.py": "the app that a parent names for its children: an argument, never what comes in",
    "adapters/cli/demo_cluster.py": "the example that ships with the package",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def where(paths: list[Path], found: Callable[[Path], Iterable[object]]) -> dict[str, list[object]]:
    """What is found wrong, by file: nothing, where all is right."""
    assert paths
    return {name(path): wrong for path in paths if (wrong := list(found(path)))}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of imported modules; `from a import b` gives both `a` and `a.b`; relative imports start with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def runs_code(callee: str) -> bool:
    """Whether calling this name runs what a value says."""
    module, _, last = callee.rpartition(".")
    return (module in {"", "builtins"} and last in RUNS_CODE) or (module == "yaml" and last in UNSAFE_YAML)


def imports_by_name(callee: str) -> bool:
    return callee.rpartition(".")[2] in {"import_module", "run_path", "run_module"}


def callees(tree: ast.AST) -> list[str]:
    """What is called, as written: `eval`, `yaml.load`."""
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def violations_of_s1(tree: ast.AST, *, may_import: bool) -> list[str]:
    """Loaders imported and callees that run stored content, as written."""
    loaders = [module for module in imported(tree) if module.split(".")[0] in LOADERS]
    return loaders + [each for each in callees(tree) if runs_code(each) or (imports_by_name(each) and not may_import)]


def test_imports_point_one_way() -> None:
    program = Path(sys.executable).with_name("lint-imports")

    checked = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_file_is_longer_than_one_idea() -> None:
    def too_long(path: Path) -> list[int]:
        return [lines for lines in [len(path.read_text().splitlines())] if lines > FILE_LINES]

    assert not where(LIBRARY, too_long)


def test_no_function_is_longer_than_a_page() -> None:
    def too_long(path: Path) -> list[str]:
        return [
            f"{function.name}: {length} lines"
            for function in functions(parsed(path))
            if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
        ]

    assert not where(LIBRARY + SHOWN, too_long)


def test_a_module_is_named_after_what_it_is() -> None:
    assert not where(LIBRARY, lambda path: FORBIDDEN_WORDS & set(path.stem.strip("_").split("_")))


def test_a_part_is_imported_by_its_one_name() -> None:
    def second_names(path: Path) -> list[str]:
        return [module for module in imported(parsed(path)) if module.split(".")[0] in PARTS]

    assert not where(LIBRARY + SHOWN, second_names), "import flowledger.<part>: one module, one name"


def test_rel_s1_nothing_runs_what_stored_content_says() -> None:
    def found(path: Path) -> list[str]:
        return violations_of_s1(parsed(path), may_import=name(path) in IMPORTS_BY_NAME)

    assert not where(LIBRARY + SHOWN, found)


@pytest.mark.parametrize("place", IMPORTS_BY_NAME)
def test_rel_s1_no_exception_outlives_its_reason(place: str) -> None:
    assert any(imports_by_name(called) for called in callees(parsed(ROOT / place)))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from marshal import loads",
        "eval(text)",
        "builtins.exec(text)",
        "__import__(text)",
        "yaml.load(text)",
        "importlib.import_module(text)",
    ],
)
def test_rel_s1_the_check_sees_what_it_forbids(line: str) -> None:
    assert violations_of_s1(ast.parse(line), may_import=False)


@pytest.mark.parametrize("part", PARTS)
def test_flowledger_has_a_link_to_each_part(part: str) -> None:
    link = ROOT / "flowledger" / part

    assert link.is_symlink()
    assert link.readlink() == Path("..") / part
