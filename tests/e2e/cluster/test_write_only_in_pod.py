"""Write-only movers in a real pod: what a backup mover and the controller hold at the end of a run opens nothing of earlier points.

The same attempt as tests/e2e/engine/test_write_only.py, which also has the control with a writer's key planted as a recipient. Here
everything is taken from a pod that the controller made, while its COMMIT stands, under the documented bucket policies.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from botocore.exceptions import ClientError

from recoup.controller.resources import POD, RESTORE, SECRET, SNAPSHOT
from tests.cluster.s3 import network
from tests.cluster.s3.credentials import Credentials
from tests.cluster.s3.exchange import Exchange
from tests.cluster.s3.proxy import FaultProxy
from tests.cluster.s3.request import Kind
from tests.cluster.s3.rights import restricted_credentials
from tests.e2e.cluster.locations import MOVERS, SYSTEM, Place, secret
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.taken import Taken, take_from_controller, take_from_pod
from tests.e2e.cluster.waiting import PATIENCE, wait_until
from tests.e2e.cluster.world import Team
from tests.e2e.engine.thief import Loot, steal
from tools.bucket_policies import MOVERS as MOVER_ROLES
from tools.bucket_policies import policy

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

NAME = "write-only"
CANARIES = {
    name: f"CANARY-{name}-{os.urandom(12).hex()}" for name in ("small", "large", "text", "file", "folder", "link", "attribute", "value")
}
FILL = """
import json, os
canaries = json.loads('{canaries}')
for number in range(40):
    open(f'/data/stays-{{number}}', 'wb').write(os.urandom(2000))
secret = '/data/' + canaries['folder']
os.mkdir(secret)
open(f"{{secret}}/{{canaries['file']}}", 'w').write(canaries['small'])
open(f'{{secret}}/large', 'wb').write(os.urandom(3 << 20) + canaries['large'].encode() + os.urandom(3 << 20))
open(f'{{secret}}/text', 'w').write((canaries['text'] + ' and words that compress well. ') * 3000)
os.symlink(canaries['link'], f'{{secret}}/link')
os.setxattr(f'{{secret}}/text', 'user.' + canaries['attribute'], canaries['value'].encode())
os.sync()
"""
EMPTY = "rm -rf /data/CANARY-*; head -c 100000 /dev/urandom > /data/new; sync"


@dataclass(frozen=True)
class HeldAnswer:
    """A fault of the proxy: the server does what was asked, and its answer waits until the gate is open."""

    reached: threading.Event
    gate: threading.Event

    def apply(self, exchange: Exchange) -> None:
        response = exchange.forward()
        self.reached.set()
        while not self.gate.is_set():
            exchange.pause(0.1)
        exchange.relay(response)


@dataclass(frozen=True)
class Scene:
    """A location behind a proxy, whose Secrets hold what the documentation gives to each namespace."""

    product: Product
    team: Team
    place: Place
    proxy: FaultProxy
    writer: Credentials

    def run(self, script: str, name: str) -> None:
        self.team.run(name, f"python3 - <<'END'\n{script}\nEND" if "import " in script else script, data="/data")

    def give(self, namespace: str, keys: Credentials) -> None:
        """Exchange the location's Secret of a namespace."""
        name = f"s3-{self.place.name}"
        kube = self.product.kube
        kube.delete(SECRET, namespace, name, uid=kube.get(SECRET, namespace, name)["metadata"]["uid"])
        secret(kube, namespace, name, accessKeyID=keys.access_key, secretAccessKey=keys.secret_key)

    def bucket(self) -> dict[str, bytes]:
        """Every object of the location, by its name there: nothing is hidden from the thief."""
        found, bucket = {}, self.place.bucket
        for page in bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=f"{self.place.prefix}/"):
            for entry in page.get("Contents", ()):
                name = entry["Key"].removeprefix(f"{self.place.prefix}/")
                found[name] = bucket.client.get_object(Bucket=bucket.name, Key=entry["Key"])["Body"].read()
        return found


@contextmanager
def scene(product: Product) -> Iterator[Scene]:
    server, bucket, prefix = product.server, product.place.bucket, f"e2e/{NAME}"
    assert server.slot.network is not None
    movers, controller, writer = (
        restricted_credentials(server, policy(roles, bucket.name, prefix, conditional=False))
        for roles in (MOVER_ROLES, "catalogue", "writer")
    )
    with (
        FaultProxy(server.endpoint, address=network.host_address(server.slot.network)) as proxy,
        product.make_place(NAME, endpoint=proxy.endpoint, credentials=movers) as place,
        product.team(NAME) as team,
    ):
        made = Scene(product, team, place, proxy, writer)
        made.give(SYSTEM, controller)
        place.wait_ready()
        yield made


def test_what_a_mover_and_the_controller_hold_opens_nothing_of_earlier_points(product: Product) -> None:
    with scene(product) as made:
        made.team.claim("data")
        made.team.policy(location=NAME)
        made.run(FILL.format(canaries=json.dumps(CANARIES)), "fill")
        made.team.snapshot("earlier")
        made.team.wait_ready(SNAPSHOT, "earlier")
        made.run(EMPTY, "empty")
        made.give(MOVERS, made.writer)
        pod = take_at_commit(made)
        controller = take_from_controller(product)
        bucket = made.bucket()
        check_that_it_was_the_writer(made, pod)
        check_that_writers_rights_restore_nothing(made)
        check_that_much_was_taken(pod, controller)
        taken = [*pod.everything, *(part for parts in controller.values() for part in parts)]
        loot = steal(taken, bucket)
        check_that_nothing_leaks(loot, bucket, taken)
        check_control_with_a_kek(made.place, bucket, taken)


def take_at_commit(made: Scene) -> Taken:
    """A later backup; its pod is stopped and taken when the COMMIT stands at the server and the mover does not know yet."""
    reached, gate = threading.Event(), threading.Event()
    made.proxy.on(HeldAnswer(reached, gate), kind=Kind.PUT, key=r"/log/", skip=1)  # the first is the OPEN
    try:
        made.team.snapshot("later")
        wait_until("the COMMIT is put", lambda: None if reached.is_set() else str(made.team.condition(SNAPSHOT, "later")), PATIENCE)
        (pod,) = made.team.children(POD)
        taken = take_from_pod(made.product, pod)
    finally:
        gate.set()
    made.team.wait_ready(SNAPSHOT, "later")
    return taken


def check_that_it_was_the_writer(made: Scene, pod: Taken) -> None:
    """The run had the writer's credentials and was refused nothing; and with them nobody gets at data, or deletes anything."""
    sign = f"Credential={made.writer.access_key}/"
    asked = [record for record in made.proxy.records() if sign in (record.request.head.get("authorization") or "")]
    assert {"d", "log", "x"} <= {record.request.key.split("/")[4] for record in asked if record.request.kind is Kind.PUT}
    assert [record for record in asked if record.status in (401, 403)] == []
    found = {path.rpartition("/")[2]: data.decode() for path, data in pod.files.items() if "recoup/credentials/" in path}
    stolen = made.product.server.client(Credentials(found["accessKeyID"], found["secretAccessKey"]))
    bucket = made.place.bucket.name
    names = [record.request.key for record in asked if record.request.kind is Kind.PUT]
    for name in names:
        if "/d/" in name or "/m/" in name:
            with pytest.raises(ClientError, match="AccessDenied"):
                stolen.get_object(Bucket=bucket, Key=name)
        with pytest.raises(ClientError, match="AccessDenied"):
            stolen.delete_object(Bucket=bucket, Key=name)


def check_that_writers_rights_restore_nothing(made: Scene) -> None:
    """As the documentation says of a cluster whose movers have only a writer's rights."""
    made.team.restore("refused", {"snapshotRef": {"name": "earlier"}}, data="copy")
    refused = made.team.wait_reason(RESTORE, "refused", "AccessDenied")
    assert "does not allow this" in refused["message"]


def check_that_much_was_taken(pod: Taken, controller: dict[str, list[bytes]]) -> None:
    """The collecting really collected: keys, credentials, run file, source, memory; and the controller sees its namespace only."""
    for path in ("recoup/writer/writer.json", "recoup/credentials/secretAccessKey", "recoup/run/run.json", "source/new"):
        assert path in pod.files, sorted(pod.files)
    key = pod.files["recoup/credentials/secretAccessKey"]
    assert any(key in part for part in pod.memory)
    assert not any(key in part for part in [*pod.environment, *pod.arguments])
    assert not [path for path in pod.files if "serviceaccount" in path or "recoup/key" in path]
    assert set(controller) == {SYSTEM}
    assert any(b"run_private" in part for part in controller[SYSTEM]), "not even the keys that it signs run tickets with"


def check_that_nothing_leaks(loot: Loot, bucket: dict[str, bytes], taken: list[bytes]) -> None:
    assert loot.plaintexts, "the attempt opened nothing at all: it proves nothing"
    assert all("/x/" in name for name in loot.plaintexts)
    assert {name for name in bucket if "/d/" in name or "/m/" in name} <= set(loot.closed)
    assert leaks(loot) == {}
    for name, value in CANARIES.items():
        assert not any(value.encode() in part for part in taken), name
        assert not any(value.encode() in data for data in bucket.values()), name


def check_control_with_a_kek(place: Place, bucket: dict[str, bytes], taken: list[bytes]) -> None:
    """The same attempt with either key of the location shows everything, so it would have shown it before."""
    small = [part for part in taken if len(part) < 10_000]
    for key in (place.key, place.recovery):
        loot = steal([*small, key.read_bytes()], bucket)
        assert loot.closed == []
        assert set(leaks(loot)) == set(CANARIES)


def leaks(loot: Loot) -> dict[str, list[str]]:
    found = {name: loot.shows(value.encode()) for name, value in CANARIES.items()}
    return {name: objects for name, objects in found.items() if objects}
