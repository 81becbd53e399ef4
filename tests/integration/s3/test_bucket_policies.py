"""Each role works under its documented bucket policy, uses all that it grants, and is refused everything else. On a real minio.

The commands are processes of their own behind a proxy that writes down what they ask for, by the access key that asks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from recoup.engine.catalogue import read_catalogue, read_location
from recoup.engine.keys.keyfile import read_key_file
from recoup.engine.log.checkpoint import EVERY
from recoup.engine.maintenance.checkpoints import extend
from recoup.engine.stores.base import Credentials as StoreCredentials
from recoup.engine.stores.base import Store, StoreOptions
from recoup.engine.stores.registry import open_store
from recoup.engine.unlock import unlock
from recoup.engine.vault import Provisioned, provision
from tests.cluster.s3.buckets import Bucket, create_bucket, delete_bucket
from tests.cluster.s3.credentials import Credentials
from tests.cluster.s3.faults import LostResponse
from tests.cluster.s3.proxy import FaultProxy
from tests.cluster.s3.request import Kind, Record
from tests.cluster.s3.rights import restricted_credentials
from tests.cluster.s3.servers import S3Server
from tests.unit.engine.log.entries import open_body
from tools.bucket_policies import AREAS, MOVERS, ROLES, policy

pytestmark = pytest.mark.s3

PREFIX = "teams/blue"
VAULT = "00112233445566778899aabbccddeeff"
MAY = {
    "writer": {"GET": "log checkpoint x", "PUT": "log d m x", "DELETE": ""},
    "reader": {"GET": "descriptor keyring log checkpoint d m x", "PUT": "", "DELETE": ""},
    "verifier": {"GET": "descriptor keyring log checkpoint d m x", "PUT": "log", "DELETE": ""},
    "catalogue": {"GET": "recoup log checkpoint x", "PUT": "", "DELETE": ""},
    "keys": {"GET": "recoup keyring log checkpoint x", "PUT": "recoup descriptor keyring log", "DELETE": ""},
    "probe": {"GET": "probe", "PUT": "probe", "DELETE": "probe"},
}
"""Said again, by hand: a slip in the source of the policies is not to be repeated by its test."""
MOVERS_MAY = {
    "GET": "recoup descriptor keyring log checkpoint d m x probe",
    "PUT": "recoup descriptor keyring log d m x probe",
    "DELETE": "probe",
}
FOREIGN = {"beside": "teams/other/v/{vault}/log/0", "above": "v/{vault}/log/0", "longer": "teams/blue2/v/{vault}/log/0"}


@dataclass
class Scene:
    """A location, credentials for each role, and what each role asked for."""

    bucket: Bucket
    proxy: FaultProxy
    folder: Path
    keys: dict[str, Credentials] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket.name}/{PREFIX}"

    @property
    def key_file(self) -> Path:
        return self.folder / "backup.key"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    def store(self, role: str) -> Store:
        keys = self.keys[role]
        credentials = StoreCredentials(keys.access_key, keys.secret_key)
        return open_store(self.url, StoreOptions(endpoint_url=self.proxy.endpoint, path_style=True, credentials=credentials))

    def run(self, role: str, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        place = ("--location", self.url, "--endpoint-url", self.proxy.endpoint, "--path-style")
        return subprocess.run(
            [sys.executable, "-m", "recoup.cli.main", command, *place, *arguments],
            env={**self.keys[role].environment(), "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
        )

    def must(self, role: str, command: str, *arguments: str) -> str:
        done = self.run(role, command, *arguments)
        assert done.returncode == 0, f"{command} as {role}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def requests(self, role: str) -> list[Record]:
        """What was asked for with the role's credentials."""
        sign = f"Credential={self.keys[role].access_key}/"
        return [record for record in self.proxy.records() if sign in (record.request.head.get("authorization") or "")]


@pytest.fixture(scope="module")
def scene(minio_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    bucket = create_bucket(minio_server)
    with FaultProxy(minio_server.endpoint) as proxy:
        made = Scene(bucket, proxy, tmp_path_factory.mktemp("roles"))
        for role in ROLES:
            made.keys[role] = restricted_credentials(minio_server, policy(role, bucket.name, PREFIX, conditional=False))
        made.keys["movers"] = restricted_credentials(minio_server, policy(MOVERS, bucket.name, PREFIX, conditional=False))
        yield made
    delete_bucket(bucket)


@dataclass(frozen=True)
class Worked:
    """What came of the roles' work."""

    made: Provisioned
    points: list[str]
    requests: dict[str, list[Record]]


@pytest.fixture(scope="module")
def worked(scene: Scene) -> Worked:
    """Every role does its whole work, with its own credentials only."""
    recoup = (sys.executable, "-m", "recoup.cli.main")
    subprocess.run([*recoup, "keygen", str(scene.key_file)], check=True, capture_output=True)
    scene.must("probe", "doctor")
    scene.must("keys", "init", "--vault", VAULT, "--key-file", str(scene.key_file))
    _grow(scene)
    made = provision(scene.store("keys"), [read_key_file(scene.key_file).kek], [], vault_id=bytes.fromhex(VAULT), labels={})
    assert not made.created, "as a keys Job does that runs again"
    (scene.folder / "writer").mkdir()
    made.writer.save(scene.folder / "writer")
    points = [_back_up(scene, number) for number in range(2)]
    key = ("--key-file", str(scene.key_file), "--vault", VAULT)
    scene.must("reader", "restore", *key, "--snapshot", points[-1], "--target", str(scene.folder / "target"))
    assert "not recorded" in scene.must("reader", "verify", *key, "--level", "4")
    assert "recorded in the log: 2 points good" in scene.must("verifier", "verify", *key, "--level", "4")
    return Worked(made, points, {role: scene.requests(role) for role in ROLES})


def _grow(scene: Scene) -> None:
    """A log so long that it has a checkpoint, by whoever may do everything."""
    server = scene.bucket.server
    credentials = StoreCredentials(server.credentials.access_key, server.credentials.secret_key)
    store = open_store(scene.url, StoreOptions(endpoint_url=server.endpoint, path_style=True, credentials=credentials))
    vault = unlock(store, [scene.key_file], trust_new=True)
    while vault.log.state.next_seq <= EVERY:
        vault.log.append(open_body(), vault.writer.signer)
    assert extend(vault.log, vault.maintenance.signer) == 1


def _back_up(scene: Scene, number: int) -> str:
    scene.source.mkdir(exist_ok=True)
    for index in range(40):
        (scene.source / f"{number}-{index}").write_bytes(os.urandom(30_000))
    keys = ("--writer-keys", str(scene.folder / "writer"), "--vault", VAULT)
    return scene.must("writer", "backup", *keys, "--source", str(scene.source)).strip()


def test_restored_as_it_was(scene: Scene, worked: Worked) -> None:
    assert len(worked.points) == 2
    subprocess.run(["diff", "-r", str(scene.source), str(scene.folder / "target")], check=True)


def test_the_controller_reads_location_and_catalogue(scene: Scene, worked: Worked) -> None:
    store = scene.store("catalogue")
    assert read_location(store) == worked.made.writer.identity.repo_id
    assert [point.id for point in read_catalogue(store, bytes.fromhex(VAULT), worked.made.catalogue).points] == worked.points


def _area(key: str) -> str:
    name = key.removeprefix(f"{PREFIX}/")
    return next(area for area, pattern in AREAS.items() if re.fullmatch(pattern.replace("*", ".*"), name))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_uses_all_that_it_is_given(scene: Scene, worked: Worked, role: str) -> None:
    if role == "catalogue":
        test_the_controller_reads_location_and_catalogue(scene, worked)
    used: dict[str, set[str]] = {"GET": set(), "PUT": set(), "DELETE": set()}
    for record in scene.requests(role):
        assert record.status not in (401, 403) or (role, record.request.kind) == ("reader", Kind.PUT), record
        if record.request.kind is not Kind.LIST:
            used[record.request.method.replace("HEAD", "GET")].add(_area(record.request.key))
    if role == "reader":
        assert used.pop("PUT") == {"log"}, "it tried to record what it verified"
        used["PUT"] = set()
    assert used == {method: set(areas.split()) for method, areas in MAY[role].items()}


def test_nothing_is_ever_put_but_if_absent(worked: Worked) -> None:
    """So the condition of the documented policies, which this server does not know, refuses nothing of ours."""
    puts = [record for records in worked.requests.values() for record in records if record.request.method in ("PUT", "POST")]
    assert len(puts) > 50
    assert {record.request.kind for record in puts} == {Kind.PUT}
    assert [record.request.key for record in puts if record.request.head.get("if-none-match") != "*"] == []


def _answer(call: Callable[[], object]) -> str:
    """The server's word for why it did not; empty if it did."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@pytest.mark.parametrize("role", [*ROLES, "movers"])
def test_a_role_may_do_nothing_else(scene: Scene, role: str) -> None:
    may = {method: set(areas.split()) for method, areas in (MAY.get(role) or MOVERS_MAY).items()}
    client = scene.bucket.server.client(scene.keys[role])
    names = {area: f"{PREFIX}/{pattern.replace('v/*', f'v/{VAULT}').replace('*', 'try')}-{role}" for area, pattern in AREAS.items()}
    names["recoup"] = f"{PREFIX}/recoup"
    names |= {area: name.format(vault=VAULT) for area, name in FOREIGN.items()}
    bucket = scene.bucket.name
    allowed: dict[str, set[str]] = {"GET": set(), "PUT": set(), "DELETE": set()}
    for area, name in names.items():
        for method, call in (
            ("PUT", lambda name=name: client.put_object(Bucket=bucket, Key=name, Body=b"", IfNoneMatch="*")),
            ("GET", lambda name=name: client.get_object(Bucket=bucket, Key=name)),
            ("DELETE", lambda name=name: client.delete_object(Bucket=bucket, Key=name)),
        ):
            answer = _answer(call)
            assert answer in ("", "AccessDenied", "NoSuchKey", "PreconditionFailed")
            if answer != "AccessDenied":
                allowed[method].add(area)
    assert allowed == may


def test_a_lost_answer_needs_no_right_to_read(scene: Scene, worked: Worked) -> None:
    """The object is there, the mover was not told, tries again, is told that it exists, and may not look."""
    assert worked.points
    rules = [scene.proxy.on(LostResponse(), kind=Kind.PUT, key=f"/{area}/") for area in ("d", "m", "x", "log")]
    point = _back_up(scene, len(worked.points))
    assert [rule.made for rule in rules] == [1, 1, 1, 1]
    scene.proxy.clear()
    scene.must("reader", "verify", "--key-file", str(scene.key_file), "--vault", VAULT, "--snapshot", point, "--level", "4", "--no-record")
