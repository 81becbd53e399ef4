"""docs/command-line.md speaks of every command, every option, every exit code and every field that the programs have, and of no others."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from recoup import errors
from recoup.cli.main import COMMANDS, root
from recoup.report import Report

TEXT = (Path(__file__).parents[2] / "docs/command-line.md").read_text()
FOR_USERS = [name for name in COMMANDS if name not in {"controller", "keys-job", "adopt-job", "handout-job"}]


def options_of(name: str) -> set[str]:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    parameters = [parameter for one in commands for parameter in one.params]
    return {flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts) if flag.startswith("--")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described(name: str) -> None:
    assert re.search(rf"^### .*\b{name}\b", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", FOR_USERS)
def test_every_option_is_described(name: str) -> None:
    missing = {flag for flag in options_of(name) if not re.search(rf"`[^`]*{flag}\b[^`]*`", TEXT)} - {"--output"}
    assert not missing


def test_no_option_is_described_that_does_not_exist() -> None:
    known = {flag for name in FOR_USERS for flag in options_of(name)} | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known


def test_every_exit_code_is_described() -> None:
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RecoupError)}
    for code in codes | {0, errors.PARTIAL_EXIT_CODE}:
        assert re.search(rf"^\| {code} \|", TEXT, re.MULTILINE), code


def test_every_field_of_the_report_is_described() -> None:
    for name in Report.__struct_encode_fields__:
        assert f"`{name}`" in TEXT
