"""Measure recoup, restic and kopia side by side, row by row (rows.py), on data sets (datasets.py). Writes docs/benchmarks.md.

The tools take turns at every row, in an order that rotates from round to round; each round begins with new repositories. The
table shows medians. Figures of a machine that does other work at the same time compare by processor time only.
`--quick` takes one round of small data in less than ten minutes. `python -m tests.bench cluster --help` is about the operator.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.bench import cluster
from tests.bench.cluster_table import section_of
from tests.bench.datasets import MAKE
from tests.bench.measure import Cost, measure, say, tree_size
from tests.bench.places import STORES, DirectoryPlace, Store, open_store
from tests.bench.rows import ROWS, Row, Scene
from tests.bench.table import Figures, render
from tests.bench.tools import TOOLS, Tool

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
USUAL_SETS = ("d2", "d3")
QUICK = {"scale": 0.1, "rounds": 1, "sets": list(USUAL_SETS), "store": list(STORES)}


def main() -> None:
    options = _options()
    figures: Figures = {}
    for folder in (options.work, options.target):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    own = partial(tempfile.TemporaryDirectory, prefix="recoup-bench-")
    with own(dir=options.work) as work, own(dir=options.target or work) as restored:
        target = Path(restored)
        for store_name in options.store:
            with open_store(store_name) as store:
                for name in options.sets:
                    figures[name, store_name] = _data_set(name, store, options, Path(work), target)
        versions = {name: TOOLS[name](Path(work), DirectoryPlace(Path(work))).version() for name in options.tools}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(
            [
                f"python -m tests.bench --scale {options.scale} --rounds {options.rounds}",
                f"--sets {' '.join(options.sets)} --store {' '.join(options.store)} --rows {shlex.join(options.rows)}",
            ]
        ),
        "scale": options.scale,
        "rounds": options.rounds,
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}",
        "load": [round(value, 1) for value in os.getloadavg()],
        "target": "Restores went to a directory of their own (--target)." if options.target else "Restores went to the same file system.",
        "stores": {name: STORES[name].about for name in options.store},
        "versions": versions,
        "flags": {name: TOOLS[name].flags for name in options.tools},
        "figures": [
            {"set": name, "store": store_name, "row": row, "tool": tool, "runs": [asdict(cost) for cost in costs]}
            for (name, store_name), rows in figures.items()
            for row, tools in rows.items()
            for tool, costs in tools.items()
        ],
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    text = render(result, figures)
    if options.document:
        options.document.write_text(text + section_of(options.document))
    say(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"one round at scale {QUICK['scale']}, in both stores; writes no document")
    parser.add_argument("--scale", type=float, default=0.5, help="share of the full data sets (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=list(USUAL_SETS), choices=list(MAKE), help="default: d2 d3")
    parser.add_argument("--store", nargs="+", default=list(STORES), choices=list(STORES), help="default: all, one after the other")
    parser.add_argument("--rows", nargs="+", default=[row.name for row in ROWS], choices=[row.name for row in ROWS], metavar="ROW")
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--work", type=Path, help="directory for data and repositories (default: a new one in TMPDIR)")
    parser.add_argument("--target", type=Path, help="directory to restore into, best a tmpfs (default: as --work)")
    parser.add_argument("--json", type=Path, help="write all figures there as well")
    parser.add_argument("--document", type=Path, help="the page to write (default: docs/benchmarks.md)")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    elif options.document is None:
        options.document = DOCUMENT
    return options


def _data_set(name: str, store: Store, options: argparse.Namespace, work: Path, target: Path) -> dict[str, dict[str, list[Cost]]]:
    """Costs by row and tool; one entry a round."""
    source = work / name
    say(f"{name}: making data")
    _data(name, str(source), "--scale", str(options.scale))
    size, files = tree_size(source)
    say(f"{name}: {files:,} files, {size / 1e6:,.0f} MB")
    rows = [row for row in ROWS if row.name in options.rows and (row.sets is None or name in row.sets)]
    costs: dict[str, dict[str, list[Cost]]] = {row.name: {tool: [] for tool in options.tools} for row in rows}
    for turn in range(options.rounds):
        tools = [_new_tool(tool, work, store) for tool in _rotated(options.tools, turn)]
        for row in rows:
            if row.mutates:
                _data(name, str(source), "--mutate", str(turn + 1))
            for tool in tools:
                cost = _measure(row, tool, Scene(name, source, target / f"restored-{tool.name}"))
                costs[row.name][tool.name].append(cost)
                used = f"{cost.wall:7.2f} s wall {cost.cpu:7.2f} s cpu {cost.peak >> 20:5} MiB {cost.stored / 1e6:9.2f} MB"
                asked = f" {cost.requests} requests" if cost.requests is not None else ""
                say(f"{name} {store.name:<3} {row.name:<17} {tool.name:<7} {used}{asked}")
        for tool in tools:
            tool.place.remove()
            shutil.rmtree(tool.home)
    shutil.rmtree(source)
    return costs


def _data(*arguments: str) -> None:
    """In a process of its own: what this one has in memory would count as the peak of every process that it starts."""
    subprocess.run([sys.executable, "-m", "tests.bench.datasets", *arguments], check=True)


def _measure(row: Row, tool: Tool, scene: Scene) -> Cost:
    """One run of a row by one tool, from the asking for its command (which may ask the repository) to the check of its work."""
    scene.target.mkdir(parents=True)
    try:
        command = row.command(tool, scene)
        before = tool.place.usage()
        cost = measure(command, tool.environment)
        after = tool.place.usage()
        row.check(scene)
    finally:
        shutil.rmtree(scene.target)
    requests = after.requests - before.requests if after.requests is not None and before.requests is not None else None
    return replace(cost, stored=after.stored - before.stored, objects=after.objects - before.objects, requests=requests)


def _new_tool(name: str, work: Path, store: Store) -> Tool:
    home = work / f"home-{name}"
    home.mkdir()
    tool = TOOLS[name](home, store.place(home))
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
