"""Damage in a bucket, on the cluster: a verification finds it, heals it from the replica, names what nobody has, and a drill passes.

Objects are flipped and deleted in the home's bucket itself. One of them is damaged at the replica, too: exactly that one is told, with its
point, path and locations, until somebody brings it back. Evidence is then read with the command line, and its signature checked.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from recoup.controller.resources import POLICY, SNAPSHOT
from recoup.engine.format.names import digest_of
from recoup.engine.keys.signing import verify as is_signed
from tests.cluster.s3.buckets import create_bucket
from tests.e2e.cluster.locations import Place
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Object, Team, condition_missing

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(900)]

FILES = 40
LEVEL = 3


@dataclass(frozen=True)
class Store:
    """The objects of one vault at one location, as somebody with the bucket's credentials sees them."""

    place: Place
    vault: str

    def names(self) -> list[str]:
        """Of everything that a recovery point needs."""
        prefix = f"{self.place.prefix}/v/{self.vault}/"
        pages = self.place.bucket.client.get_paginator("list_objects_v2").paginate(Bucket=self.place.bucket.name, Prefix=prefix)
        found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return sorted(name for name in found if name.removeprefix(prefix).partition("/")[0] in {"d", "m", "x"})

    def get(self, name: str) -> bytes:
        return self.place.bucket.client.get_object(Bucket=self.place.bucket.name, Key=name)["Body"].read()

    def put(self, name: str, data: bytes) -> None:
        self.place.bucket.client.put_object(Bucket=self.place.bucket.name, Key=name, Body=data)

    def delete(self, name: str) -> None:
        self.place.bucket.client.delete_object(Bucket=self.place.bucket.name, Key=name)

    def spoil(self, name: str, rng: random.Random) -> None:
        """Flip a bit, or take it away."""
        if rng.random() < 0.5:
            self.delete(name)
            return
        data = bytearray(self.get(name))
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        self.put(name, bytes(data))


@pytest.fixture
def replica(product: Product) -> Iterator[Place]:
    bucket = create_bucket(product.server)
    with product.make_place("offsite", bucket=bucket) as place:
        place.wait_ready()
        yield place


def wait_for(team: Team, kind: str, status: str = "True", reason: str | None = None, seconds: float = 300.0) -> str:
    """Wait for the policy's condition; returns its message."""
    what = f"{kind}={status} {reason or ''}"
    wait_until(what, lambda: condition_missing(team.find(POLICY, "policy"), kind, status=status, reason=reason), seconds)
    return str(team.condition(POLICY, "policy", kind)["message"])


def evidence(place: Place, vault: str) -> list[Object]:
    """What the log says, by the command line with the key file of the home."""
    command = [sys.executable, "-m", "recoup.cli.main", "evidence", "--location", place.bucket.url(place.prefix), "--vault", vault]
    command += ["--endpoint-url", place.bucket.server.endpoint, "--trust-new", "-o", "json"]
    key = ["--key-file", str(place.key)]
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(place.bucket.server.credentials_file), "PATH": ""}
    done = subprocess.run([*command, *key], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[Object] = json.loads(done.stdout)
    return found


def test_damage_is_found_healed_named_and_a_drill_passes(product: Product, replica: Place, team: Team) -> None:
    rng = random.Random(11)
    team.claim("data")
    write = f"for i in $(seq {FILES}); do head -c 1000000 /dev/urandom > /data/file-$i; done"
    team.run("write", write, data="/data")
    team.policy(locations=[{"name": product.place.name}, {"name": replica.name}])
    team.snapshot("point")
    team.wait_ready(SNAPSHOT, "point")
    wait_until("the copy is there", lambda: condition_missing(team.find(SNAPSHOT, "point"), "Replicated"), 240)
    vault = str(team.get(SNAPSHOT, "point")["status"]["vault"])
    home, copy = Store(product.place, vault), Store(replica, vault)

    shared = next(name for name in copy.names() if "/d/" in name)
    twin = shared.replace(replica.prefix, product.place.prefix, 1)
    assert twin in home.names()
    whole = copy.get(shared)
    needed = {name.replace(replica.prefix, product.place.prefix, 1) for name in copy.names()}
    victims = [name for name in home.names() if name in needed and name != twin]
    for name in victims:
        home.spoil(name, rng)
    home.delete(twin)
    copy.delete(shared)

    team.edit(POLICY, "policy", verification={"schedule": {"every": "1m"}, "level": LEVEL})
    message = wait_for(team, "Verified", "False", "Damaged")
    assert "point (PVC data)" in message
    wait_until("both locations are told", lambda: _told(team, 2), 240)
    lines = team.get(POLICY, "policy")["status"]["damaged"]
    assert {(line["location"], line["persistentVolumeClaim"], line["snapshot"]) for line in lines} == {
        (product.place.name, "data", "point"),
        (replica.name, "data", "point"),
    }
    assert all(0 < line["paths"] <= FILES and "whole" not in line for line in lines), lines
    assert "cannot be restored whole" in str(team.condition(SNAPSHOT, "point", "Verified").get("message"))
    healed = sum(one["statement"]["healedObjects"] for one in evidence(product.place, vault) if one["kind"] == "Verification")
    assert healed == len(victims)

    home.put(twin, whole)  # somebody has it still: an older version, a tape
    drill = {"schedule": {"every": "1m"}, "storageClassName": "recoup-wffc"}
    team.edit(POLICY, "policy", verification={"drill": drill}, objectives={"rto": "10m"})
    said = wait_for(team, "Verified", "True", "Verified")
    assert all(f"{place.name} at level {LEVEL}" in said for place in (product.place, replica))
    assert "damaged" not in team.get(POLICY, "policy")["status"]

    wait_for(team, "Drilled", "True", "DrillPassed")
    wait_for(team, "RTOMet", "True", "WithinObjective")
    last = team.get(POLICY, "policy")["status"]["lastDrill"]
    place = {product.place.name: product.place, replica.name: replica}[last["location"]]
    wait_until("the point was drilled", lambda: None if _copy(team, place).get("drilledAt") else "not yet", 120)
    assert _copy(team, place)["verifiedLevel"] == LEVEL
    _check_signature(product.place if place is product.place else replica, product.place, vault)


def _told(team: Team, places: int) -> str | None:
    lines = team.get(POLICY, "policy")["status"].get("damaged", [])
    return None if len({line["location"] for line in lines}) == places else json.dumps(lines)


def _copy(team: Team, place: Place) -> Object:
    copies: list[Object] = team.get(SNAPSHOT, "point")["status"]["copies"]
    return next(copy for copy in copies if copy["location"] == place.name)


def _check_signature(place: Place, home: Place, vault: str) -> None:
    """The drill's evidence as it stands in the bucket, with nothing but the public key that is shown for it."""
    read: Any = Place(place.kube, place.name, place.bucket, place.prefix, home.key, home.recovery)
    shown = [one for one in evidence(read, vault) if one["kind"] == "Drill"][-1]
    assert shown["statement"]["passed"]
    data = Store(place, vault).get(f"{place.prefix}/{shown['name']}")
    assert digest_of(data).hex() == shown["digest"]
    assert is_signed(bytes.fromhex(shown["signer"]["publicKey"]), b"rcp1/entry", data[:-64], data[-64:])
