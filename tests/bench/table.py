"""The page of figures: one table per data set and store, with the conditions under which they were taken."""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from tests.bench.measure import Cost
from tests.bench.rows import ROWS

Figures = dict[tuple[str, str], dict[str, dict[str, list[Cost]]]]
"""Costs by (data set, store), row and tool; one for each round."""

OURS: Final = "recoup"
ROOM: Final = 1.15
"""A peer counts in ratios if it stores at most so much more than we do: who stores more has less to do. If none does, all count."""

_ABOUT = {
    "d1": "large files that nothing compresses",
    "d2": "many small text files",
    "d3": "one database file, pages of 8 KiB; 1 % of them changed in place",
    "d4": "a copy of this machine's /usr",
    "d5": "a sparse disk image, half of its data text",
}

_HEAD = """# Benchmarks

Made by `{command}` on {date}; medians of {rounds} rounds in which the tools took turns. Machine: {machine}; load average when it
ended: {load}. The tools read from a warm page cache. Times include start-up; memory is the peak of the process as the kernel counts
it; "stored" is by how much the repository grew, "objects" by how many files or objects. {target}

{tools}

Ratios are ours to the better peer's in wall and processor time. Only peers count that store at most {room} times as much as we do in
the full backup, or all if there is none. What a machine does besides shows in the wall times, less in processor times. `make bench`
takes the figures again and rewrites this page.
"""


def render(result: dict[str, Any], figures: Figures) -> str:
    """The page as Markdown."""
    tools = "\n".join(f"- {name} {version}: {result['flags'][name]}" for name, version in result["versions"].items())
    fields = {name: result[name] for name in ("command", "date", "rounds", "machine", "target")}
    head = _HEAD.format(**fields, load=", ".join(str(value) for value in result["load"]), tools=tools, room=ROOM)
    sections = (_section(name, result["scale"], result["stores"][store], rows) for (name, store), rows in figures.items())
    return head + "".join(sections)


def _section(name: str, scale: float, store: str, rows: dict[str, dict[str, list[Cost]]]) -> str:
    lines = [
        f"\n## {name} at scale {scale} in {store}\n\nThe data: {_ABOUT[name]}.\n",
        "| row | tool | wall s | cpu s | peak MiB | stored MB | objects | requests | ratio wall, cpu |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    peers = _peers(rows)
    writing = {row.name for row in ROWS if row.writes}
    for row, tools in rows.items():
        for tool, costs in tools.items():
            ratio = _ratios(costs, [tools[peer] for peer in peers]) if tool == OURS else ""
            lines.append(f"| {row} | {tool} | {_figures(costs, grown=row in writing)} | {ratio} |")
    return "\n".join(lines) + "\n"


def _figures(costs: list[Cost], *, grown: bool) -> str:
    cells = [f"{_wall(costs):.2f}", f"{_cpu(costs):.2f}", f"{median(c.peak for c in costs) / (1 << 20):.0f}"]
    cells += [f"{_stored(costs) / 1e6:.2f}", f"{median(c.objects for c in costs):.0f}"] if grown else ["", ""]
    requests = [c.requests for c in costs if c.requests is not None]
    return " | ".join([*cells, f"{median(requests):.0f}" if requests else ""])


def _peers(rows: dict[str, dict[str, list[Cost]]]) -> list[str]:
    """Whom the ratios are taken against."""
    full = rows.get("full")
    others = [tool for tool in next(iter(rows.values())) if tool != OURS]
    if full is None or OURS not in full:
        return others
    return [tool for tool in others if _stored(full[tool]) <= ROOM * _stored(full[OURS])] or others


def _ratios(ours: list[Cost], peers: list[list[Cost]]) -> str:
    if not peers:
        return ""
    return f"{_wall(ours) / min(map(_wall, peers)):.2f}, {_cpu(ours) / min(map(_cpu, peers)):.2f}"


def _wall(costs: list[Cost]) -> float:
    return median(c.wall for c in costs)


def _cpu(costs: list[Cost]) -> float:
    return median(c.cpu for c in costs)


def _stored(costs: list[Cost]) -> float:
    return median(c.stored for c in costs)
