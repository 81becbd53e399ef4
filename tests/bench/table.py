"""The page of figures: one table per data set, with the conditions under which they were taken."""

from __future__ import annotations

from statistics import median
from typing import Any

from tests.bench.measure import Cost

_ABOUT = {
    "d2": "many small text files",
    "d3": "one database file, pages of 8 KiB; 1 % of them changed in place",
}

_HEAD = """# Benchmarks

Made by `{command}` on {date}; medians of {rounds} rounds in which the tools took turns. Machine: {machine}; load average when it
ended: {load}. Every tool writes to a directory and reads from a warm page cache. Times include start-up; memory is the peak of
the process as the kernel counts it; "stored" is by how much the repository grew, "objects" by how many files. {target}

{tools}

What a machine does besides shows in the wall times, less in processor times. `make bench` takes the figures again and rewrites
this page.
"""


def render(result: dict[str, Any], figures: dict[str, dict[str, dict[str, list[Cost]]]]) -> str:
    """The page as Markdown."""
    tools = "\n".join(f"- {name} {version}: {result['flags'][name]}" for name, version in result["versions"].items())
    command = f"python -m tests.bench --scale {result['scale']} --rounds {result['rounds']}"
    load = ", ".join(str(value) for value in result["load"])
    head = _HEAD.format(
        command=command,
        date=result["date"],
        rounds=result["rounds"],
        machine=result["machine"],
        load=load,
        tools=tools,
        target=result["target"],
    )
    return head + "".join(_section(name, result["scale"], tools_) for name, tools_ in figures.items())


def _section(name: str, scale: float, tools: dict[str, dict[str, list[Cost]]]) -> str:
    lines = [
        f"\n## {name} at scale {scale}: {_ABOUT[name]}\n",
        "| step | tool | wall s | cpu s | peak MiB | stored MB | objects |",
        "|---|---|---|---|---|---|---|",
    ]
    steps = next(iter(tools.values()))
    for step in steps:
        for tool, costs in tools.items():
            lines.append(_row(step, tool, costs[step]))
    return "\n".join(lines) + "\n"


def _row(step: str, tool: str, costs: list[Cost]) -> str:
    wall, cpu = median(c.wall for c in costs), median(c.cpu for c in costs)
    peak, stored, objects = median(c.peak for c in costs), median(c.stored for c in costs), median(c.objects for c in costs)
    grown = ("", "") if step == "restore" else (f"{stored / 1e6:.2f}", f"{objects:.0f}")
    return f"| {step} | {tool} | {wall:.2f} | {cpu:.2f} | {peak / (1 << 20):.0f} | {grown[0]} | {grown[1]} |"
