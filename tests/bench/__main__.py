"""Measure recoup, restic and kopia side by side: full, unchanged, 1 % changed, restore. Writes docs/benchmarks.md.

The tools take turns at every step, in an order that rotates from round to round; each round begins with new repositories. The
table shows medians. Figures of a machine that does other work at the same time compare by processor time only.
`python -m tests.bench cluster --help` is about the operator.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import cluster
from tests.bench.cluster_table import section_of
from tests.bench.datasets import MAKE
from tests.bench.measure import Cost, measure, say, tree_size
from tests.bench.table import render
from tests.bench.tools import TOOLS, Tool

STEPS = ("full", "unchanged", "1 % changed", "restore")
DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--scale", type=float, default=0.5, help="share of the full data sets (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=list(MAKE), choices=list(MAKE))
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--work", type=Path, help="directory for data and repositories (default: a new one in TMPDIR)")
    parser.add_argument("--target", type=Path, help="directory to restore into, best a tmpfs (default: as --work)")
    parser.add_argument("--json", type=Path, help="write all figures there as well")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="the table to write (default: docs/benchmarks.md)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recoup-bench-", dir=options.work) as work:
        target = options.target or Path(work)
        figures = {name: _data_set(name, options, Path(work), target) for name in options.sets}
        versions = {name: TOOLS[name](Path(work)).version() for name in options.tools}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "scale": options.scale,
        "rounds": options.rounds,
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}",
        "load": [round(value, 1) for value in os.getloadavg()],
        "target": "Restores went to a directory of their own (--target)." if options.target else "Restores went to the same file system.",
        "versions": versions,
        "flags": {name: TOOLS[name].flags for name in options.tools},
        "figures": {
            name: {tool: {s: [asdict(c) for c in costs] for s, costs in steps.items()} for tool, steps in tools.items()}
            for name, tools in figures.items()
        },
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    text = render(result, figures)
    options.document.write_text(text + section_of(options.document))
    say(text)


def _data_set(name: str, options: argparse.Namespace, work: Path, target: Path) -> dict[str, dict[str, list[Cost]]]:
    """Costs by tool and step; one entry a round."""
    source = work / name
    say(f"{name}: making data")
    _data(name, str(source), "--scale", str(options.scale))
    size, files = tree_size(source)
    say(f"{name}: {files:,} files, {size / 1e6:,.0f} MB")
    costs: dict[str, dict[str, list[Cost]]] = {tool: {step: [] for step in STEPS} for tool in options.tools}
    for turn in range(options.rounds):
        tools = [_new_tool(tool, work) for tool in _rotated(options.tools, turn)]
        for step in STEPS:
            if step == "1 % changed":
                _data(name, str(source), "--mutate", str(turn + 1))
            for tool in tools:
                cost = _step(step, tool, source, target / f"restored-{tool.name}")
                costs[tool.name][step].append(cost)
                used = f"{cost.wall:7.2f} s wall {cost.cpu:7.2f} s cpu {cost.peak >> 20:5} MiB {cost.stored / 1e6:9.2f} MB"
                say(f"{name} {step:<12} {tool.name:<7} {used}")
        for tool in tools:
            shutil.rmtree(tool.home)
    shutil.rmtree(source)
    return costs


def _data(*arguments: str) -> None:
    """In a process of its own: what this one has in memory would count as the peak of every process that it starts."""
    subprocess.run([sys.executable, "-m", "tests.bench.datasets", *arguments], check=True)


def _step(step: str, tool: Tool, source: Path, target: Path) -> Cost:
    if step != "restore":
        return measure(tool.backup(source), tool.environment, tool.repository)
    target.mkdir(parents=True)
    try:
        cost = measure(tool.restore(source, target), tool.environment, tool.repository)
        if tree_size(target) != tree_size(source):
            raise RuntimeError(f"{tool.name} restored {tree_size(target)} instead of {tree_size(source)}")
    finally:
        shutil.rmtree(target)
    return cost


def _new_tool(name: str, work: Path) -> Tool:
    home = work / f"home-{name}"
    home.mkdir()
    tool = TOOLS[name](home)
    tool.init()
    return tool


def _rotated(names: list[str], turn: int) -> list[str]:
    return names[turn % len(names) :] + names[: turn % len(names)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["cluster"]:
        del sys.argv[1]
        cluster.main()
    else:
        main()
