"""The S3 servers of the tests: what each can do, and that nothing of them is left, however their owner ended."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import cast

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, SSLError

from tests.cluster import places
from tests.cluster.s3 import network, slots
from tests.cluster.s3.buckets import create_bucket, delete_bucket
from tests.cluster.s3.fixtures import MakeBucket
from tests.cluster.s3.rights import restricted_credentials, session_credentials
from tests.cluster.s3.servers import S3Server, minio, running, start, versitygw

pytestmark = pytest.mark.s3


@pytest.fixture(params=["minio", "versitygw"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(f"{request.param}_server")
    return found


def code_of(error: "pytest.ExceptionInfo[ClientError]") -> str:
    return error.value.response["Error"]["Code"]


def test_keys_are_kept_from_others(server: S3Server) -> None:
    assert server.credentials_file.stat().st_mode & 0o777 == 0o600
    assert server.slot.folder.stat().st_mode & 0o777 == 0o700
    assert server.credentials.secret_key not in repr(server)
    for pid in slots.processes(server.slot.folder):
        assert server.credentials.secret_key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_wrong_keys_are_refused(server: S3Server, minio_server: S3Server, versitygw_server: S3Server) -> None:
    other = versitygw_server if server is minio_server else minio_server
    with pytest.raises(ClientError) as caught:
        server.client(other.credentials).list_buckets()
    assert code_of(caught) == "InvalidAccessKeyId"


def test_create_if_absent_is_refused_the_second_time(server: S3Server, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(server)
    bucket.client.put_object(Bucket=bucket.name, Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as caught:
        bucket.client.put_object(Bucket=bucket.name, Key="k", Body=b"2", IfNoneMatch="*")
    assert code_of(caught) == "PreconditionFailed"


def test_minio_lets_one_of_four_racing_writers_win(minio_server: S3Server, make_bucket: MakeBucket) -> None:
    """The everyday home is atomic; versitygw is not, which is why it is here, but its races can't be asserted."""
    bucket, start = make_bucket(minio_server), Barrier(4)

    def write(number: int) -> int:
        wins = 0
        for key in range(50):
            start.wait()
            try:
                bucket.client.put_object(Bucket=bucket.name, Key=f"k{key}", Body=b"%d" % number, IfNoneMatch="*")
                wins += 1
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                    raise
        return wins

    assert bucket.client.list_objects_v2(Bucket=bucket.name)["KeyCount"] == 0
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(4))) == 50


def test_versions_and_object_lock(server: S3Server, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(server, object_lock=True)
    client, name = bucket.client, bucket.name
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": "2100-01-01T00:00:00Z"}
    version = client.put_object(Bucket=name, Key="k", Body=b"kept")["VersionId"]
    client.put_object_retention(Bucket=name, Key="k", VersionId=version, Retention=retention)  # type: ignore[arg-type]
    client.delete_object(Bucket=name, Key="k")
    with pytest.raises(ClientError) as caught:
        client.delete_object(Bucket=name, Key="k", VersionId=version)
    assert code_of(caught) in ("AccessDenied", "InvalidRequest")
    assert client.get_object(Bucket=name, Key="k", VersionId=version)["Body"].read() == b"kept"


def test_restricted_keys_may_do_what_the_policy_says_and_nothing_else(server: S3Server, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(server)
    arn = f"arn:aws:s3:::{bucket.name}"
    writing = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"{arn}/w/*"]}
    policy = {"Version": "2012-10-17", "Statement": [writing]}
    kinds = [restricted_credentials, session_credentials] if server.provider == "minio" else [restricted_credentials]
    for kind in kinds:
        client = server.client(kind(server, policy))
        client.put_object(Bucket=bucket.name, Key="w/k", Body=b"x")
        for call, arguments in (
            (client.get_object, {"Key": "w/k"}),
            (client.put_object, {"Key": "v/k", "Body": b""}),
            (client.delete_object, {"Key": "w/k"}),
            (client.list_objects_v2, {}),
        ):
            with pytest.raises(ClientError) as caught:
                cast("Callable[..., object]", call)(Bucket=bucket.name, **arguments)
            assert code_of(caught) == "AccessDenied"


def test_restricting_a_second_user_leaves_the_first_as_it_was(server: S3Server, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(server)
    clients = {}
    for user in ("a", "b"):
        statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket.name}/{user}/*"}
        clients[user] = server.client(restricted_credentials(server, {"Version": "2012-10-17", "Statement": [statement]}))
    for user, client in clients.items():
        client.put_object(Bucket=bucket.name, Key=f"{user}/k", Body=b"")
        with pytest.raises(ClientError):
            client.put_object(Bucket=bucket.name, Key=f"{'b' if user == 'a' else 'a'}/k", Body=b"")


@pytest.mark.parametrize("provider", ["minio", "versitygw"])
def test_tls_with_an_authority_of_its_own(provider: str) -> None:
    with running(provider, networked=False, secure=True) as server:  # type: ignore[arg-type]
        server.client().list_buckets()
        stranger = server.session().client("s3", endpoint_url=server.endpoint, verify=True)
        with pytest.raises(SSLError):
            stranger.list_buckets()


@pytest.fixture(params=["minio", "versitygw"])
def networked(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(f"{request.param}_on_network")
    return found


def test_a_network_of_its_own_is_reached_from_another_and_can_be_cut(networked: S3Server) -> None:
    bucket = create_bucket(networked)
    assert networked.slot.network is not None
    inside = network.inside(networked.slot.network)
    assert "10.96." in subprocess.run([*inside, "ip", "address"], capture_output=True, text=True, check=True).stdout
    impatient = networked.client(connect_timeout=0.2, read_timeout=0.2, retries={"total_max_attempts": 1})
    with networked.cut(), pytest.raises(ConnectTimeoutError):
        impatient.list_buckets()
    assert [each["Name"] for each in networked.client().list_buckets()["Buckets"]] == [bucket.name]
    delete_bucket(bucket)


def test_a_cluster_node_reaches_it(networked: S3Server) -> None:
    """From a second namespace with a veth to the host, as cluster nodes are, through the host's routing."""
    with minio(network=True) as node:
        assert node.slot.network is not None
        probe = "import sys, urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=5).status)"
        health = "/minio/health/ready" if networked.provider == "minio" else "/healthy"
        command = [*network.inside(node.slot.network), sys.executable, "-c", probe, networked.endpoint + health]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "200"


def traces(folder: Path) -> list[str]:
    """What a slot left on the machine: its folder, processes, namespace, link."""
    found = [str(folder)] if folder.exists() else []
    found += [f"pid {pid}" for pid in slots.processes(folder)]
    if folder.name.startswith("net-") and network.exists(int(folder.name.removeprefix("net-"))):
        found.append(f"network {folder.name}")
    return found


@pytest.mark.parametrize("networked", [False, True], indirect=False)
def test_nothing_is_left_after_the_end(networked: bool) -> None:
    with minio(network=networked) as one, versitygw(network=networked) as two:
        folders = [one.slot.folder, two.slot.folder]
        assert all(len(traces(folder)) == (3 if networked else 2) for folder in folders)
    assert [traces(folder) for folder in folders] == [[], []]


def test_many_starting_at_once_get_networks_of_their_own() -> None:
    with ThreadPoolExecutor(4) as pool:
        servers = list(pool.map(lambda _: start("versitygw", networked=True, secure=False), range(4)))
    try:
        assert len({server.endpoint for server in servers}) == 4
        for server in servers:
            create_bucket(server, "mine")
    finally:
        for server in servers:
            server.stop()
    assert [traces(server.slot.folder) for server in servers] == [[]] * 4


CRASHING = """
    import sys
    from tests.cluster.s3.servers import start
    server = start("minio", networked=sys.argv[1] == "True", secure=False)
    print(server.slot.folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """Another run that has a server and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CRASHING), str(request.param)],
        cwd=places.CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("owner", [False, True], indirect=True)
def test_what_a_killed_run_left_is_cleaned_by_the_next_and_a_living_one_is_not_disturbed(owner: "subprocess.Popen[str]") -> None:
    assert owner.stdout
    folder = Path(owner.stdout.readline().strip())
    networked = folder.name.startswith("net-")
    before = traces(folder)
    with versitygw(network=networked) as server:
        assert server.slot.folder != folder
        assert traces(folder) == before
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert traces(folder) == before
    with versitygw(network=networked) as server:
        assert traces(folder) == [] or server.slot.folder == folder
        assert not any(pid in slots.processes(folder) for pid in pids(before))
    assert traces(folder) == []


def pids(trace: list[str]) -> list[int]:
    return [int(each.removeprefix("pid ")) for each in trace if each.startswith("pid ")]


@pytest.mark.parametrize("place", [["--loopback"], []])
def test_by_hand_it_runs_on_until_stopped(tmp_path: Path, place: list[str]) -> None:
    def command(*arguments: str) -> str:
        whole = [sys.executable, "-m", "tests.cluster.s3", *arguments, "--name", "hand", "--state", str(tmp_path)]
        return subprocess.run(whole, cwd=places.CHECKOUT, capture_output=True, text=True, check=True).stdout

    first = command("start", "minio", *place, "--bucket", "backups")
    described = json.loads(first)
    folder = Path(described["folder"])
    try:
        assert Path(described["credentialsFile"]).stat().st_mode & 0o777 == 0o600
        assert (folder / "data" / "backups").is_dir()
        with versitygw(network=not place):  # another run starts, and must not take the living server for left over
            assert slots.processes(folder)
        assert command("start", "minio", *place) == first
    finally:
        command("stop")
    assert traces(folder) == []
    assert command("stop") == ""
