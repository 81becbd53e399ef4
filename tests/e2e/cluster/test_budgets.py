"""A location that takes one mover at a time: three volumes are captured together, and their movers come one after the other."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from recoup.controller.resources import SNAPSHOT
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.together import assert_honest
from tests.e2e.cluster.witness import watching

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
VOLUMES = ("data-0", "data-1", "data-2")
Object = dict[str, Any]


def versions(text: str) -> list[Object]:
    """Every version of every object that a watch told, in order."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        event, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        found.append(event)
    return found


def most_at_once(events: list[Object], namespace: str) -> tuple[int, int]:
    """Over the whole watch: how many backup Jobs of the namespace were not over at the same time, at most, and how many there were."""
    working: set[str] = set()
    seen: set[str] = set()
    most = 0
    for event in events:
        job = event["object"]
        labels = job["metadata"].get("labels") or {}
        if labels.get("recoup.dev/owner-namespace") != namespace or "recoup.dev/location" not in labels:
            continue
        name = job["metadata"]["name"]
        over = event["type"] == "DELETED" or any(item["status"] == "True" for item in (job.get("status") or {}).get("conditions") or ())
        (working.discard if over else working.add)(name)
        seen.add(name)
        most = max(most, len(working))
    return most, len(seen)


def created_at(events: list[Object], namespace: str) -> set[datetime]:
    """When the backup Jobs of the namespace were made."""
    jobs = [event["object"]["metadata"] for event in events]
    return {
        datetime.fromisoformat(job["creationTimestamp"])
        for job in jobs
        if (job.get("labels") or {}).get("recoup.dev/owner-namespace") == namespace and "recoup.dev/location" in job["labels"]
    }


def test_a_location_that_takes_one_mover_never_gets_two(product: Product, tmp_path: Path) -> None:
    with product.make_place("narrow", limits={"concurrentMovers": 1}) as place, product.team("budget") as team:
        for name in VOLUMES:
            team.claim(name)
        team.run("write", "for n in 0 1 2; do echo $n > /data-$n/file; done", **{name: f"/{name}" for name in VOLUMES})
        team.policy(location="narrow")
        place.wait_ready()
        with watching(product, tmp_path) as witness:
            team.snapshot("now")
            done = team.wait_ready(SNAPSHOT, "now")
        jobs = versions(witness.seen["every version of jobs"].decode())
        assert most_at_once(jobs, team.name) == (1, len(VOLUMES))
        told = witness.seen["every version of backupsnapshots"].decode()
        assert '"reason":"WaitingForMoverSlot"' in told.replace(": ", ":")
        assert "all 1 movers of BackupLocation narrow (its spec.limits.concurrentMovers); at work for budget/now" in told
        captured = [datetime.fromisoformat(volume["capturedAt"]) for volume in done["status"]["volumes"]]
        assert max(captured) <= sorted(created_at(jobs, team.name))[1], "the volumes that waited had been captured before"
        assert_honest(team, place)
