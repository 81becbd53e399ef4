"""The shape of the code: small files and functions, a subject each, imports in one direction only."""

import ast
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from recoup.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "recoup"
SOURCES = sorted(PACKAGE.rglob("*.py"))
EVERYTHING = sorted(
    path for folder in ("operator", "tests", "tools") for path in (ROOT / folder).rglob("*.py") if "generated" not in path.parts
)

LONGEST_FILE = 500
LONGEST_FUNCTION = 60
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base_manager"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_files_are_small_and_named_for_a_subject(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    assert path.stem not in VAGUE


def test_most_files_are_much_smaller() -> None:
    assert statistics.median(len(path.read_text().splitlines()) for path in SOURCES if path.name != "__init__.py") <= 200


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_fit_on_a_screen(path: Path) -> None:
    """Arguments, decorators and docstrings count: they have to be read too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.read_text().strip()], ids=name_of)
def test_modules_say_what_they_are_for(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text, "no docstring"
    assert len(text.splitlines()) <= 16


def test_nothing_is_left_for_later() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    found = [name_of(path) for path in EVERYTHING if any(word in path.read_text() for word in words)]
    assert found == []


def test_the_folder_operator_is_no_package() -> None:
    """It would hide the standard library's module of that name."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_imports_go_in_one_direction() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT / "operator")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


PURE = sorted([*(PACKAGE / "plan").rglob("*.py"), *(PACKAGE / "api").rglob("*.py")])
CLOCKS = {"now", "today", "utcnow", "monotonic", "time_ns", "urandom", "uuid4", "token_hex", "open"}


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_decisions_ask_no_clock_and_no_chance(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
            assert called not in CLOCKS, f"line {node.lineno} calls {called}"


ALLOWED_IN_CONTROLLER = {"recoup.engine.catalogue"}
ONLY_FOR_TYPES = {"recoup.engine.stores.base"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "controller").rglob("*.py")), ids=name_of)
def test_the_controller_knows_of_the_engine_its_catalogue_only(path: Path) -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "recoup.engine":
            names |= {f"recoup.engine.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    assert {name for name in names if name.startswith("recoup.engine")} <= ALLOWED_IN_CONTROLLER | ONLY_FOR_TYPES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_frameworks_stay_at_their_edge(path: Path) -> None:
    imported = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    inside = path.relative_to(PACKAGE)
    assert "kopf" not in imported or inside.as_posix() == "controller/watch.py"
    assert "kubernetes" not in imported or inside.as_posix() in ("controller/kube.py", "controller/exec.py", "cli/kubectl/cluster.py")
    assert not imported & {"boto3", "botocore"} or inside.parts[:2] == ("engine", "stores") or inside.as_posix() == "engine/keys/kms.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_starts_without_what_it_does_not_need(command: str) -> None:
    """`--help` is instant, and a mover never loads the control plane."""
    heavy = ("kopf", "kubernetes", "boto3", "rich", "recoup.plan", "recoup.controller")
    code = f"import sys; from recoup.cli.main import main\ntry: main(['{command}', '--help'])\nexcept SystemExit: pass\n"
    code += f"print('LOADED', [name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT / "operator")}, capture_output=True, text=True, check=False
    )
    assert "Usage:" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"
