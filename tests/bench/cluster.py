"""`python -m tests.bench cluster`: what the operator adds to its movers' work, on a local cluster with an S3 server of its own.

Each round has a new namespace with data set d2 in a PVC: a first backup, an unchanged one, and a restore to a new PVC, each from the
moment the object is created to its Ready=True. Writes the section "On a cluster" of docs/benchmarks.md (cluster_table.py).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pytest_kind import KindCluster

from recoup.controller.resources import RESTORE, SNAPSHOT
from tests.bench import datasets
from tests.bench.cluster_table import Round, Run, render, write_section
from tests.bench.measure import say
from tests.bench.processes import MoverWatch, controllers_memory
from tests.bench.requests import S3Requests
from tests.cluster import images, lifecycle, places, programs
from tests.cluster.audit import Audit
from tests.cluster.record import OWNER_VARIABLE
from tests.cluster.s3.buckets import create_bucket
from tests.cluster.s3.servers import minio
from tests.e2e.cluster.locations import make_place
from tests.e2e.cluster.product import Product, api_server, await_controller, install
from tests.e2e.cluster.world import Team

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
ACCOUNTS = ("system:serviceaccount:recoup-system:", "system:serviceaccount:recoup-movers:")
NAME = "recoup-bench"
IDLE_SECONDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench cluster", description=__doc__)
    parser.add_argument("--scale", type=float, default=0.5, help="share of the full data set d2 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write all figures there as well")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="whose section to write (default: docs/benchmarks.md)")
    options = parser.parse_args()
    with _stage() as product:
        idle = _idle(product)
        rounds = [_round(product, number, options.scale) for number in range(1, options.rounds + 1)]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "scale": options.scale,
        "processors": os.cpu_count(),
        "idle": idle,
        "rounds": [asdict(each) for each in rounds],
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    text = render(rounds, date=str(result["date"]), scale=options.scale, idle=idle)
    write_section(options.document, text)
    say(text)


@contextmanager
def _stage() -> Iterator[Product]:
    """Cluster, S3 server, chart with two replicas, a Ready location; all gone afterwards."""
    os.environ[OWNER_VARIABLE] = str(os.getpid())
    lifecycle.prepare()
    archive = images.archive(images.PRODUCT)
    with minio(network=True) as server, tempfile.TemporaryDirectory() as folder, _cluster(Path(folder)) as cluster:
        lifecycle.load_image(NAME, archive)
        install(cluster, images.PRODUCT)
        kube = api_server(cluster)
        await_controller(kube)
        place = make_place(kube, Path(folder), "main", create_bucket(server, "main"))
        place.wait_ready()
        yield Product(cluster, lifecycle.find(NAME), kube, server, place, images.PRODUCT, Path(folder))


@contextmanager
def _cluster(folder: Path) -> Iterator[KindCluster]:
    kind, kubectl = places.SOURCES / "kind", programs.program("kubectl")
    cluster = KindCluster(NAME, kubeconfig=folder / "kubeconfig", kind_path=kind, kubectl_path=kubectl)
    cluster.create()
    try:
        yield cluster
    finally:
        cluster.delete()


def _idle(product: Product) -> float:
    """API requests a minute, Leases and readiness included, of a controller that has nothing to do."""
    audit = Audit(product.node)
    time.sleep(IDLE_SECONDS)
    return _api_requests(audit, background=True) * 60 / IDLE_SECONDS


def _round(product: Product, number: int, scale: float) -> Round:
    with product.team(f"bench-{number}") as team:
        team.claim("data", size="4Gi")
        team.policy()
        say(f"round {number}: making data")
        script = Path(datasets.__file__).read_text()
        team.job("make", f"python3 - d2 /data/d2 --scale {scale} <<'END'\n{script}\nEND\nsync", data="/data")
        team.finish("make", 1200)
        s3 = S3Requests(product.server)
        first = _measured(product, team, s3, "first backup", lambda: _backup(team, "first"))
        unchanged = _measured(product, team, s3, "unchanged backup", lambda: _backup(team, "unchanged"))
        restore = _measured(product, team, s3, "restore", lambda: _restore(team))
        team.job("compare", "diff -r /data/d2 /copy/d2 && find /copy/d2 -type f | wc -l", data="/data", copy="/copy")
        files = int(team.finish("compare", 600))
        if files != round(datasets.FILES * scale):
            raise RuntimeError(f"{files} files came back")
        return Round(files, {"first backup": first, "unchanged backup": unchanged, "restore to a new PVC": restore})


def _backup(team: Team, name: str) -> None:
    team.snapshot(name)
    team.wait_ready(SNAPSHOT, name, 600)


def _restore(team: Team) -> None:
    team.restore("back", {"snapshotRef": {"name": "unchanged"}}, data="copy")
    team.wait_ready(RESTORE, "back", 600)


def _measured(product: Product, team: Team, s3: S3Requests, what: str, run: Callable[[], None]) -> Run:
    """Requests are counted until everything of the run is cleaned up, times until Ready."""
    load = os.getloadavg()[0]
    audit = Audit(product.node)
    with MoverWatch(NAME) as watch:
        began = time.time()
        run()
        ended = time.time()
    team.wait_clean()
    mover = watch.mover
    measured = Run(
        seconds=ended - began,
        before=mover.started - began,
        mover=mover.ended - mover.started,
        after=ended - mover.ended,
        mover_cpu=mover.cpu,
        mover_anonymous=mover.anonymous,
        api_requests=_api_requests(audit, background=False),
        s3_requests=s3.since(),
        controller_memory=max(controllers_memory(NAME)),
        load=load,
    )
    say(f"{what:<18} {measured}")
    return measured


def _api_requests(audit: Audit, *, background: bool) -> int:
    """Finished requests of every account of ours, with what goes on at all times (Leases, readiness) or without."""
    return sum(r.user.startswith(ACCOUNTS) and (background or r.resource not in ("leases", "")) for r in audit.requests())
