"""The section "On a cluster" of docs/benchmarks.md, beside figures of two other operators that were taken the same way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

HEADING = "## On a cluster"


@dataclass(frozen=True)
class Run:
    """One run. `before` and `after`: seconds of the operator's own, around the mover. Memory in bytes."""

    seconds: float
    before: float
    mover: float
    after: float
    mover_cpu: float
    mover_anonymous: int
    api_requests: int
    s3_requests: int
    controller_memory: int
    load: float


@dataclass(frozen=True)
class Round:
    """The runs of one namespace, by what they did."""

    files: int
    runs: dict[str, Run]


OTHERS = {
    "first backup": {
        "VolSync 0.16.0": ("40.2 / 37.6", "2.2+3.1 / 3.4+3.2", "45 / 39", "123-128", "159", "61"),
        "K8up 2.15.0": ("25.9 / 45.6", "1.3+3.8 / 1.2+6.6", "30-46", "116-131", "64-72", "75"),
    },
    "unchanged backup": {
        "VolSync 0.16.0": ("10.7 / 10.4", "4.8 / 4.0", "7.5", "54", "151", "31"),
        "K8up 2.15.0": ("10.5 / 10.4", "4.4 / 5.1", "6", "62", "59-75", "46"),
    },
    "restore to a new PVC": {
        "VolSync 0.16.0": ("25.9 / 34.7", "3.6 / 3.8", "21-28", "224", "105", "62"),
        "K8up 2.15.0": ("30.4 / 25.3", "8.6 / 3.9", "23", "395", "70", "84"),
    },
}
"""Two runs each; seconds; CPU seconds and MiB of the mover; requests of the manager, less background. Where only the mover's time was
taken, the operator's part is what remains of the whole."""
OTHERS_MEMORY = "The managers' resident memory: VolSync 55-65 MB, K8up 47-54 MB"

_HEAD = """{heading}

Made by `python -m tests.bench cluster` on {date}: {files:,} files of d2 (scale {scale}) in a PVC of the local cluster, minio on a
network of its own; rounds: {rounds}, each in a new namespace. Its policy, with which the keys are made, is applied before the
data is written: a BackupSnapshot that comes together with its policy waits for the keys, some 2 s more. Seconds from creating the object
until it says Ready=True; the operator's part is what passes before the mover's process starts and after it ended (of the others a
single figure where only the sum is known). CPU and peak anonymous memory are the mover's. API requests are those of all accounts of
Recoup but for the background (Leases, readiness), until everything of the run was removed; S3 requests are everybody's.
Load: the load average of the machine (2 processors) when each run began.

VolSync and K8up were measured elsewhere, on such a machine with the same cluster on 2026-11-23, two runs each, with restic 0.19.1 in
both and data of the same kind (101,027 files, 945 MiB); their load is not known. VolSync takes a snapshot as Recoup does, K8up
reads the live volume.

| run | | apply → done s | operator s, before+after | mover s | CPU s | memory MiB | API | S3 | load |
|---|---|---|---|---|---|---|---|---|---|
"""

_BUSY = """
The machine did much else while these were taken (see the load): times in seconds are too long to be compared. So are, less so,
CPU seconds; and API requests grow with a mover's time, because its progress is looked at every 15 seconds.
"""
QUIET = 3.0
"""The load average up to which times mean something on two processors."""

_FOOT = """
Controller: {memory:.0f} MiB resident in the larger of two replicas, {idle:.0f} API requests a minute of both when idle, Leases
and readiness included. {others}.
"""


def render(rounds: list[Round], *, date: str, scale: float, idle: float) -> str:
    """The section as Markdown, from its heading on."""
    lines = [_HEAD.format(heading=HEADING, date=date, files=rounds[0].files, scale=scale, rounds=len(rounds))]
    for what, others in OTHERS.items():
        lines += [_row(what, [each.runs[what] for each in rounds])]
        lines += [
            f"| | {name} | {done} | {part} | | {cpu} | {memory} | {api} | {s3} | |\n"
            for name, (done, part, cpu, memory, api, s3) in others.items()
        ]
    memory = max(run.controller_memory for each in rounds for run in each.runs.values()) / (1 << 20)
    busy = _BUSY if max(run.load for each in rounds for run in each.runs.values()) > QUIET else ""
    return "".join(lines) + busy + _FOOT.format(memory=memory, idle=idle, others=OTHERS_MEMORY)


def write_section(document: Path, section: str) -> None:
    """Replace the section, which is the last of the page."""
    document.write_text(before_section(document) + section)


def before_section(document: Path) -> str:
    text = document.read_text() if document.exists() else "# Benchmarks\n"
    return text.partition(HEADING)[0].rstrip() + "\n\n"


def section_of(document: Path) -> str:
    """The section as it stands, or nothing."""
    text = document.read_text() if document.exists() else ""
    _, heading, rest = text.partition(HEADING)
    return f"\n{heading}{rest}" if heading else ""


def _row(what: str, runs: list[Run]) -> str:
    def each(numbers: list[float], digits: int = 1) -> str:
        return " / ".join(f"{number:.{digits}f}" for number in numbers)

    parts = " / ".join(f"{run.before:.1f}+{run.after:.1f}" for run in runs)
    memory = median(run.mover_anonymous for run in runs) / (1 << 20)
    return (
        f"| **{what}** | **Recoup** | {each([r.seconds for r in runs])} | {parts} | {each([r.mover for r in runs])}"
        f" | {each([r.mover_cpu for r in runs])} | {memory:.0f} | {each([r.api_requests for r in runs], 0)}"
        f" | {each([r.s3_requests for r in runs], 0)} | {each([r.load for r in runs])} |\n"
    )
