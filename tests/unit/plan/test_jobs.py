"""The Jobs that the planners build: the engine's command line takes their arguments, and their pods may do what they need and no more."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec import structs

from recoup.api.backuplocation import S3, BackupLocationSpec, Encryption, EncryptionKey, RecipientKey, SecretKey
from recoup.api.backuppolicy import Mover, Resources, Toleration
from recoup.api.objects import Reference
from recoup.plan.objects.adopt_job import build_adopt_job
from recoup.plan.objects.identity import Owner
from recoup.plan.objects.jobs import build_backup_job, build_keys_job, build_probe_job, build_restore_job
from recoup.plan.observed import Surroundings

Job = dict[str, Any]

OWNER = Owner(kind="BackupSnapshot", namespace="shop", name="shop-20261123t041500z", uid="11111111-2222-3333-4444-555555555555")
AROUND = Surroundings(image="registry.example.com/recoup:1", image_pull_secrets=("pull",))
LOCATION = BackupLocationSpec(
    s3=S3(
        bucket="acme-backups", prefix="prod", endpoint="https://s3.example.com", region="eu-central-1", force_path_style=True,
        ca_bundle="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", credentials_secret_ref=Reference(name="frankfurt-s3"),
    ),
    encryption=Encryption(
        keys=(
            EncryptionKey(name="daily", secret=SecretKey(secret_ref=Reference(name="recoup-key"))),
            EncryptionKey(name="safe", recipient=RecipientKey(public_key="recoup1qx")),
        )
    ),
)  # fmt: skip
VAULT = "ab" * 16
AFFINITY = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}


def backup(volume_mode: str = "Filesystem", mover: Mover | None = None) -> Job:
    return build_backup_job(
        OWNER, AROUND, LOCATION, name="backup-1", place="frankfurt", volume_uid="uid", attempt=1, vault=VAULT, run="{}", claim="claim",
        volume_mode=volume_mode,        exclude=("cache/**", "*.tmp"), mover=mover or Mover(), node_affinity=AFFINITY,
    )  # fmt: skip


def restore(volume_mode: str = "Filesystem") -> Job:
    return build_restore_job(
        OWNER, AROUND, LOCATION, name="restore-1", volume_uid="data-0", attempt=2, vault=VAULT, fingerprint="rcf1-abc",
        manifest="6f1c" * 16,        claim="claim", volume_mode=volume_mode, node_affinity=None,
        keys=LOCATION.encryption.keys,
    )  # fmt: skip


def keys() -> Job:
    return build_keys_job(OWNER, AROUND, LOCATION, name="keys", attempt=1, vault=VAULT, namespace="shop", namespace_uid="uid-1")


def probe() -> Job:
    return build_probe_job(OWNER, AROUND, LOCATION, name="probe")


def adopt() -> Job:
    return build_adopt_job(OWNER, AROUND, LOCATION, name="adopt", vaults=[VAULT], fingerprints=[])


EVERY = {"backup": backup, "restore": restore, "keys-job": keys, "doctor": probe, "adopt-job": adopt}
TALKS = ("keys-job", "adopt-job")
"""Those with an API token."""


def pod(job: Job) -> Job:
    spec: Job = job["spec"]["template"]["spec"]
    return spec


def container(job: Job) -> Job:
    found: Job = pod(job)["containers"][0]
    return found


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """The files that the kubelet would put there."""
    for name in ("credentials", "writer", "keys/daily", "run"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("keys/daily/key", "run/ca.pem", "run/run.json"):
        (tmp_path / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize("command", EVERY)
@pytest.mark.parametrize("block", [False, True])
def test_the_command_line_takes_the_arguments(command: str, block: bool, mounted: Path) -> None:
    job = {"backup": backup, "restore": restore}[command]("Block") if block and command in ("backup", "restore") else EVERY[command]()
    name, *arguments = [str(argument).replace("/recoup/", f"{mounted}/") for argument in container(job)["args"]]
    assert name == command
    parsed = import_module(f"recoup.cli.{name.replace('-', '_')}").command
    assert isinstance(parsed, click.Command)
    context = parsed.make_context(name, arguments)
    assert context.params["url"] == "s3://acme-backups/prod"
    assert context.params["endpoint_url"] == "https://s3.example.com"
    assert context.params["report"] == "/dev/termination-log"
    assert Path(context.params["ca_bundle"]).name == "ca.pem"


@pytest.mark.parametrize("command", EVERY)
def test_every_file_of_the_arguments_is_mounted(command: str) -> None:
    job = EVERY[command]()
    mounts = [item["mountPath"] for item in container(job)["volumeMounts"]]
    assert {item["name"] for item in container(job)["volumeMounts"]} <= {item["name"] for item in pod(job)["volumes"]}
    for argument in container(job)["args"]:
        if argument.startswith("/recoup/"):
            assert any(argument == mount or argument.startswith(f"{mount}/") for mount in mounts), argument


@pytest.mark.parametrize(
    ("command", "capabilities"),
    [
        ("backup", ["DAC_OVERRIDE"]),
        ("restore", ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP"]),
        ("keys-job", None),
        ("doctor", None),
        ("adopt-job", None),
    ],
)
def test_a_mover_may_do_what_it_needs_and_no_more(command: str, capabilities: list[str] | None) -> None:
    job = EVERY[command]()
    spec, context = pod(job), container(job)["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert context["capabilities"].get("add") == capabilities
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert "privileged" not in context
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "fsGroup" not in spec["securityContext"]
    assert spec["automountServiceAccountToken"] is (command in TALKS)
    assert spec["serviceAccountName"] == ("recoup-keys" if command in TALKS else "recoup-mover")
    assert "hostUsers" not in spec
    assert job["spec"]["backoffLimit"] == 0
    assert "env" not in container(job)
    assert all(item.get("secret", {}).get("defaultMode", 0o400) == 0o400 for item in spec["volumes"])
    assert {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}} in spec["volumes"]


def test_a_backup_mover_gets_no_key_that_opens_backups() -> None:
    secrets = {item["secret"]["secretName"] for item in pod(backup())["volumes"] if "secret" in item}
    assert secrets == {"frankfurt-s3", f"writer-{VAULT}"}


def test_the_source_is_read_only_by_its_mount_and_never_by_its_claim() -> None:
    job = backup()
    assert {"name": "source", "mountPath": "/source", "readOnly": True} in container(job)["volumeMounts"]
    assert {"name": "source", "persistentVolumeClaim": {"claimName": "claim"}} in pod(job)["volumes"]


@pytest.mark.parametrize(("job", "name"), [(backup("Block"), "source"), (restore("Block"), "target")])
def test_a_block_volume_is_a_device(job: Job, name: str) -> None:
    assert container(job)["volumeDevices"] == [{"name": name, "devicePath": f"/dev/{name}"}]
    assert name not in [item["name"] for item in container(job)["volumeMounts"]]
    assert f"/dev/{name}" in container(job)["args"]


def test_placement_and_resources_are_the_policys() -> None:
    mover = Mover(
        resources=Resources(requests={"cpu": "500m"}, limits={"memory": "4Gi"}),
        node_selector={"pool": "backup"},
        tolerations=(Toleration(key="backup", value="yes"),),
        priority_class_name="low",
    )
    job = backup(mover=mover)
    assert container(job)["resources"] == {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "4Gi"}}
    assert pod(job)["nodeSelector"] == {"pool": "backup"}
    assert pod(job)["tolerations"][0]["key"] == "backup"
    assert pod(job)["priorityClassName"] == "low"
    required = pod(job)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required == AFFINITY["required"]
    assert pod(job)["imagePullSecrets"] == [{"name": "pull"}]


def test_a_small_limit_lowers_the_default_request() -> None:
    job = backup(mover=Mover(resources=Resources(limits={"memory": "64Mi", "cpu": "1"})))
    assert container(job)["resources"]["requests"] == {"memory": "64Mi", "cpu": "100m"}


def test_a_location_with_offline_keys_only_can_still_be_written_to(mounted: Path) -> None:
    offline = Encryption(keys=(EncryptionKey(name="safe", recipient=RecipientKey(public_key="recoup1qx")),))
    location = structs.replace(LOCATION, encryption=offline)
    job = build_keys_job(OWNER, AROUND, location, name="keys", attempt=1, vault=VAULT, namespace="shop", namespace_uid="uid-1")
    name, *arguments = [str(argument).replace("/recoup/", f"{mounted}/") for argument in container(job)["args"]]
    context = import_module("recoup.cli.keys_job").command.make_context(name, arguments)
    assert context.params["recipients"] == ("recoup1qx",)
    assert context.params["key_files"] == ()


def test_names_fit_and_differ_for_owners_with_long_names() -> None:
    names = {
        Owner(kind="BackupSnapshot", namespace="a", name="x" * 253, uid=uid).child_name(f"{claim}-1", claim, "1")
        for uid in ("uid-1", "uid-2")
        for claim in ("y" * 253, "y" * 252 + "z")
    }
    assert len(names) == 4
    assert all(len(name) <= 63 and name[-1].isalnum() for name in names)


def test_a_restore_starts_with_those_keys_that_are_there() -> None:
    """One of several is enough. The only one is waited for, and so is each of those that a new vault is to have."""
    secrets = tuple(EncryptionKey(name=name, secret=SecretKey(secret_ref=Reference(name=f"key-{name}"))) for name in ("daily", "cold"))
    several = structs.replace(LOCATION, encryption=Encryption(keys=secrets))
    made = build_restore_job(
        OWNER, AROUND, several, name="restore-1", volume_uid="data-0", attempt=1, vault=VAULT, fingerprint="rcf1-abc",
        manifest="6f1c" * 16, claim="claim", volume_mode="Filesystem", node_affinity=None,
        keys=several.encryption.keys,
    )  # fmt: skip
    arguments = container(made)["args"]
    assert arguments[arguments.index("--keys-dir") + 1] == "/recoup/keys"
    assert "--key-file" not in arguments
    assert {mount["mountPath"] for mount in container(made)["volumeMounts"]} >= {"/recoup/keys/daily", "/recoup/keys/cold"}
    assert keys_of(made) == {"key-daily": True, "key-cold": True}
    assert keys_of(restore()) == {"recoup-key": False}
    first = build_keys_job(OWNER, AROUND, several, name="keys", attempt=1, vault=VAULT, namespace="shop", namespace_uid="uid-1")
    assert keys_of(first) == {"key-daily": False, "key-cold": False}


def keys_of(job: Job) -> dict[str, bool]:
    """Secrets mounted as keys, and whether the pod starts without them."""
    mounted = [volume["secret"] for volume in pod(job)["volumes"] if volume["name"].startswith("key-")]
    return {secret["secretName"]: secret.get("optional", False) for secret in mounted}
