"""The Jobs: backup mover, restore mover, keys, probe. One command of the engine each, never retried by Kubernetes itself.

backoffLimit is 0 because the controller counts attempts and knows what is worth repeating; podReplacementPolicy Failed keeps a second
pod from starting while the first still ends. A Job stays until its result stands in a status; then the controller deletes it.
"""

from collections.abc import Sequence

from recoup.api.backuplocation import BackupLocationSpec, EncryptionKey
from recoup.api.backuppolicy import Mover
from recoup.api.labels import MANAGED_BY, MANAGER, RUN
from recoup.api.names import label_value, writer_secret
from recoup.plan.actions import Object
from recoup.plan.objects.identity import ATTEMPT, COMPONENT, LOCATION, VAULT, VAULT_NAMESPACE, Owner
from recoup.plan.objects.other_places import other_places
from recoup.plan.objects.pod import (
    BACKUP_CAPABILITIES,
    REPORT,
    RESTORE_CAPABILITIES,
    PodParts,
    build_pod_template,
    secret_volume,
    store_arguments,
    store_parts,
)
from recoup.plan.observed import Surroundings

API_VERSION = "batch/v1"
KIND = "Job"

WRITER = "/recoup/writer"
"""Where a backup mover finds the keys of its role."""

KEYS = "/recoup/keys"
"""Where a pod finds keys: each Secret as a folder."""

SHORT_JOB_LIMIT = 900
"""Seconds after which Kubernetes ends a keys or probe Job: they take seconds and tell no progress, so nobody could see one hang."""

KEYS_JOB_KEPT = 600
"""Seconds that an ended keys Job stays if nobody removes it: the run that made it may be gone, and its owner is the location."""


def build_backup_job(
    owner: Owner, around: Surroundings, location: BackupLocationSpec, *,
    name: str, place: str, volume_uid: str, attempt: int, vault: str, run: str, claim: str, volume_mode: str,
    exclude: Sequence[str], mover: Mover, node_affinity: Object | None,
) -> Object:  # fmt: skip
    """Back the PVC `claim` up. `run` is the text of the run file (JSON); `place`, the location's name."""
    volumes, mounts, annotations = store_parts(location, {"run.json": (RUN, run)})
    volumes.append(secret_volume("writer", writer_secret(vault)))
    mounts.append({"name": "writer", "mountPath": WRITER, "readOnly": True})
    source, mount, device = data_volume(claim, volume_mode, "source", read_only=True)
    parts = PodParts(
        arguments=backup_arguments(location, vault=vault, exclude=exclude, source="/dev/source" if device else "/source"),
        volumes=[*volumes, source],
        mounts=[*mounts, *mount],
        devices=device,
        capabilities=BACKUP_CAPABILITIES,
        annotations=annotations,
    )
    labels = owner.labels(volume_uid) | {COMPONENT: "mover", ATTEMPT: str(attempt), LOCATION: label_value(place)}
    template = build_pod_template(around, parts, labels=labels, mover=mover, node_affinity=node_affinity)
    return build_job(name, around.movers_namespace, labels, template)


def backup_arguments(location: BackupLocationSpec, *, vault: str, exclude: Sequence[str], source: str) -> list[str]:
    return [
        "backup", *store_arguments(location), "--vault", vault, "--writer-keys", WRITER, "--run", "/recoup/run/run.json",
        *(part for pattern in exclude for part in ("--exclude", pattern)), "--source", source, "--report", REPORT,
    ]  # fmt: skip


def build_restore_job(
    owner: Owner, around: Surroundings, location: BackupLocationSpec, *others: BackupLocationSpec,
    name: str, volume_uid: str, attempt: int, vault: str, fingerprint: str, manifest: str, claim: str, volume_mode: str,
    node_affinity: Object | None, keys: Sequence[EncryptionKey], orders: Sequence[str] = (),
) -> Object:  # fmt: skip
    """Fill the PVC `claim` with the recovery point `manifest`, comparing what was written. `orders`: options that say what and how.

    others: locations with copies, for what the first does not give. keys: of the vault's home, which the copies have as well.
    """
    volumes, mounts, annotations = store_parts(location, {})
    copies = other_places(others, optional=True)
    key_volumes, key_mounts, key_arguments = any_key(keys)
    target, mount, device = data_volume(claim, volume_mode, "target", read_only=False)
    arguments = [
        "restore", *store_arguments(location), "--vault", vault, *(("--fingerprint", fingerprint) if fingerprint else ()),
        *(part for url in copies.urls for part in ("--also", url)),
        *key_arguments, "--snapshot", manifest, *orders, "--target", "/dev/target" if device else "/target", "--report", REPORT,
    ]  # fmt: skip
    parts = PodParts(
        arguments=arguments,
        volumes=[*volumes, *copies.volumes, *key_volumes, target],
        mounts=[*mounts, *copies.mounts, *key_mounts, *mount],
        devices=device,
        capabilities=RESTORE_CAPABILITIES,
        annotations=annotations | copies.annotations,
    )
    labels = owner.labels(volume_uid) | {COMPONENT: "mover", ATTEMPT: str(attempt)}
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=node_affinity)
    return build_job(name, around.movers_namespace, labels, template)


def build_keys_job(
    owner: Owner, around: Surroundings, location: BackupLocationSpec, *,
    name: str, attempt: int, vault: str, namespace: str, namespace_uid: str,
) -> Object:  # fmt: skip
    """Make or unwrap the keyring of `vault` and hand each role its part: the one mover with an API token.

    owner: the BackupLocation, so that all runs that need the vault make the same Job. namespace: whose vault it is.
    """
    volumes, mounts, annotations = store_parts(location, {})
    key_volumes, key_mounts, key_arguments = _keys(location.encryption.keys)
    recipients = [part for key in location.encryption.keys if key.recipient for part in ("--recipient", key.recipient.public_key)]
    arguments = [
        "keys-job", *store_arguments(location), *key_arguments, *recipients, "--vault", vault,
        "--namespace", namespace, "--namespace-uid", namespace_uid,
        *(("--cluster-uid", around.cluster_uid) if around.cluster_uid else ()),
        "--writer-namespace", around.movers_namespace, "--catalogue-namespace", around.system_namespace, "--report", REPORT,
    ]  # fmt: skip
    parts = PodParts(
        arguments=arguments,
        volumes=[*volumes, *key_volumes],
        mounts=[*mounts, *key_mounts],
        capabilities=(),
        annotations=annotations,
        account=around.keys_service_account,
        token=True,
    )
    labels = owner.labels() | {COMPONENT: "keys", VAULT: vault, VAULT_NAMESPACE: label_value(namespace), ATTEMPT: str(attempt)}
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    job = build_job(name, around.movers_namespace, labels, template)
    job["spec"] |= {"ttlSecondsAfterFinished": KEYS_JOB_KEPT, "activeDeadlineSeconds": SHORT_JOB_LIMIT}
    return job


def build_probe_job(owner: Owner, around: Surroundings, location: BackupLocationSpec, *, name: str) -> Object:
    """Probe the location with a mover's credentials: create-if-absent under races, reads, lists."""
    volumes, mounts, annotations = store_parts(location, {})
    arguments = ["doctor", *store_arguments(location), "-o", "json", "--report", REPORT]
    parts = PodParts(arguments=arguments, volumes=volumes, mounts=mounts, capabilities=(), annotations=annotations)
    labels = owner.labels() | {COMPONENT: "mover"}
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    job = build_job(name, around.movers_namespace, labels, template)
    job["spec"]["activeDeadlineSeconds"] = SHORT_JOB_LIMIT
    return job


def build_job(name: str, namespace: str, labels: dict[str, str], template: Object) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"backoffLimit": 0, "completions": 1, "parallelism": 1, "podReplacementPolicy": "Failed", "template": template},
    }


def any_key(keys: Sequence[EncryptionKey]) -> tuple[list[Object], list[Object], list[str]]:
    """The same for a pod to which one of several keys is enough: it starts with the Secrets that are there.

    The only key is waited for instead: as long as its Secret is missing, the pod's condition names it, and it starts by itself.
    """
    volumes, mounts, arguments = _keys(keys)
    if len(volumes) < 2:
        return volumes, mounts, arguments
    optional = [volume | {"secret": volume["secret"] | {"optional": True}} for volume in volumes]
    return optional, mounts, ["--keys-dir", KEYS]


def _keys(keys: Sequence[EncryptionKey]) -> tuple[list[Object], list[Object], list[str]]:
    """Volumes, mounts and arguments of every key that lies in a Secret."""
    volumes: list[Object] = []
    mounts: list[Object] = []
    arguments: list[str] = []
    for number, key in enumerate(key for key in keys if key.secret):
        assert key.secret is not None
        volumes.append(secret_volume(f"key-{number}", key.secret.secret_ref.name))
        mounts.append({"name": f"key-{number}", "mountPath": f"{KEYS}/{key.name}", "readOnly": True})
        arguments += ["--key-file", f"{KEYS}/{key.name}/key"]
    return volumes, mounts, arguments


def data_volume(claim: str, volume_mode: str, name: str, *, read_only: bool) -> tuple[Object, list[Object], list[Object]]:
    """The pod volume of a PVC, and its mount or its device.

    Read-only is said on the mount, never on the claim: the kubelet must be able to replay a dirty journal.
    """
    volume: Object = {"name": name, "persistentVolumeClaim": {"claimName": claim}}
    if volume_mode == "Block":
        return volume, [], [{"name": name, "devicePath": f"/dev/{name}"}]
    mount: Object = {"name": name, "mountPath": f"/{name}"}
    return volume, [mount | {"readOnly": True} if read_only else mount], []


def is_our_job(thing: Object) -> bool:
    return thing["kind"] == KIND and (thing["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
