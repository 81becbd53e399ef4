"""Writes docs/reference/metrics.md from the metrics that the controller registers. `python -m tools.metrics [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recoup.controller.coverage import coverage_family
from recoup.controller.metrics import Metrics
from recoup.controller.resources import Key

DOC = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"
HEAD = """\
# Metrics

What `/metrics` of the controller (port 8080) shows, written by `python -m tools.metrics`. Only the replica that holds the Lease has
objects and reconciles to count. Beside these there are none about single recovery points: their number would grow without bound.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def render() -> str:
    metrics = Metrics()
    metrics.watch_queue(lambda: 0, lambda: 0.0)
    # one object of each kind, so that every gauge shows its labels
    metrics.objects.saw(
        Key("BackupLocation", "", "x"), {"conditions": [{"type": kind, "status": "True"} for kind in ("Reachable", "Ready")]}
    )
    policy = {
        "coverage": {"selected": 1, "protected": 1, "failed": 0},
        "lastSuccess": {"at": "2026-01-01T00:00:00Z"},
        "rpo": "Met",
        "volumes": [{"persistentVolumeClaim": "z"}],
    }
    metrics.objects.saw(Key("BackupPolicy", "x", "y"), policy)
    for child in (metrics.reconciles, metrics.reconcile_seconds, metrics.writes, metrics.api_calls, metrics.catalogue_reads):
        child.labels(*("x" for _ in child._labelnames))  # noqa: SLF001  # prometheus_client has no public way to ask
    coverage = coverage_family()
    coverage.add_metric(["x", "y", "z"], 1.0)
    rows = []
    for family in (*metrics.registry.collect(), coverage):
        labels = sorted(
            {label for sample in family.samples for label in sample.labels if label != "le"} or set(getattr(family, "_labelnames", ()))
        )
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append(f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |\n")
    return HEAD + "".join(sorted(rows))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.metrics", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is out of date")
    if parser.parse_args().check:
        sys.exit(0 if DOC.exists() and DOC.read_text() == render() else f"{DOC} is out of date, run python -m tools.metrics")
    DOC.write_text(render())


if __name__ == "__main__":
    main()
