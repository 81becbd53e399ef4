"""docs/kubectl-recoup.md speaks of every command and option that the plugin has, and of no others."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from recoup.cli.kubectl.main import COMMANDS, root

TEXT = (Path(__file__).parents[2] / "docs/kubectl-recoup.md").read_text()
GUIDE = (Path(__file__).parents[2] / "docs/restore-guide.md").read_text()


def options_of(name: str) -> set[str]:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    return {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}


EVERY = {flag for name in COMMANDS for flag in options_of(name)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(name: str) -> None:
    assert re.search(rf"^## {name}\b", TEXT, re.MULTILINE)
    missing = {flag for flag in options_of(name) if not re.search(rf"`[^`]*{flag}\b[^`]*`", TEXT)} - {"--output"}
    assert not missing


def test_no_option_is_described_that_does_not_exist() -> None:
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= EVERY
    commands = [line for line in GUIDE.splitlines() if line.startswith("kubectl recoup")]
    assert len(commands) > 5
    for line in commands:
        name = line.split()[2]
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", line.partition("#")[0])) <= options_of(name), line
