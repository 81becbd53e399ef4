"""What is measured, row by row. A row is a name, the command of a tool, and what must hold afterwards; add one to ROWS.

Rows run in this order within a round, each by all tools in turn; what a row changes is there for the next.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.datasets import MUTATE
from tests.bench.measure import tree_size
from tests.bench.tools import Tool


@dataclass(frozen=True)
class Scene:
    """What a row works on: the data, and a directory to restore into that is new for every run."""

    data_set: str
    source: Path
    target: Path

    def one_file(self) -> Path:
        """A file of the data, relative to it: always the same of the same data."""
        files = sorted(path.relative_to(self.source) for path in self.source.rglob("*") if path.is_file() and not path.is_symlink())
        return random.Random("one file").choice(files)


@dataclass(frozen=True)
class Row:
    """`command` is what is measured; `check` raises unless it did what it should."""

    name: str
    command: Callable[[Tool, Scene], list[str]]
    check: Callable[[Scene], None] = lambda _: None
    sets: frozenset[str] | None = None
    """Data sets that the row is for; None: all."""
    mutates: bool = False
    """The data are changed once before, for all tools."""
    writes: bool = False
    """The repository is meant to grow: what it grew by is a figure."""


def _all_there(scene: Scene) -> None:
    if tree_size(scene.target) != tree_size(scene.source):
        raise RuntimeError(f"restored were {tree_size(scene.target)} instead of {tree_size(scene.source)}")


def _one_there(scene: Scene) -> None:
    wanted = scene.source / scene.one_file()
    found = [path for path in scene.target.rglob("*") if path.is_file()]
    if [path.read_bytes() for path in found] != [wanted.read_bytes()]:
        raise RuntimeError(f"restored was not just {wanted.name}, but {found}")


def _backup(tool: Tool, scene: Scene) -> list[str]:
    return tool.backup(scene.source)


ROWS: Final = (
    Row("full", _backup, writes=True),
    Row("unchanged", _backup, writes=True),
    Row("1 % changed", _backup, sets=frozenset(MUTATE), mutates=True, writes=True),
    Row("restore", lambda tool, scene: tool.restore(scene.source, scene.target), _all_there),
    Row(
        "restore one file",
        lambda tool, scene: tool.restore_file(scene.source, scene.one_file(), scene.target),
        _one_there,
        sets=frozenset({"d2", "d4"}),
    ),
    Row("verify everything", lambda tool, _: tool.verify()),
)
